// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Time on a stream, by events. Each number is that of one call.
//
//   cold     alone, after all of the L2 cache was replaced
//   hot      one of several back to back, on the same buffers
//   stream   the same, but as fast as the host makes the calls
//   graph    one of twenty in a graph
//
// Before cold and hot ones the stream is kept busy until the host has made the calls, so they have the device's time
// and not the host's.

#include <cuda_runtime_api.h>

#include <functional>
#include <vector>

#include "tempflow/cuda.hpp"
#include "tempflow/device/device_buffer.hpp"

namespace bench {

enum class state { cold, hot, stream, graph };

inline constexpr std::string_view state_names[] = {"cold", "hot", "stream", "graph"};

class timer {
 public:
  explicit timer(const tempflow::cuda_backend& backend);
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;
  ~timer();

  /// Microseconds of a call, measured so many times.
  std::vector<double> measure(state how, const std::function<void()>& call, int repetitions);

 private:
  double repeat(int calls, double ahead, const std::function<void()>& call);
  double cold(double ahead, const std::function<void()>& call);
  std::vector<double> graph(const std::function<void()>& call, int repetitions);
  void flush();
  double between(int first) const;

  static constexpr int samples = 5;  ///< of a cold repetition, whose median counts
  static constexpr int calls = 20;   ///< of the others

  tempflow::cuda_backend backend_;
  cudaStream_t stream_;
  tempflow::device_buffer<float, tempflow::cuda_device> flushed_;
  cudaEvent_t events_[2 * samples];
};

/// Copies 16 bytes per thread at a time, as many as there are: a roof for kernels that read and write.
void copy_by_kernel(cudaStream_t stream, void* to, const void* from, std::size_t bytes);

/// Writes memory, then reads it again, so that the cache has nothing left to write back.
void write_and_read(cudaStream_t stream, float* memory, std::size_t count);

/// Keeps the stream busy.
void wait(cudaStream_t stream, double microseconds);

}  // namespace bench
