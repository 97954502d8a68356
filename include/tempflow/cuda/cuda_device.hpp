// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A stream of a CUDA device: what the device backend asks of the CUDA runtime. Kernels are launched by
// tempflow/cuda.cuh, which needs a CUDA compiler; a program that has no CUDA source of its own includes
// tempflow/cuda.hpp and links code that does.

#include <cuda_runtime_api.h>

#include <cstddef>

#include "tempflow/cuda/cuda_error.hpp"
#include "tempflow/device/device_backend.hpp"

namespace tempflow {

/// Work on a stream, which must outlive it. Nothing goes to another stream. Calls are made on the current
/// device, which must be the stream's.
class cuda_device {
 public:
  cuda_device(cudaStream_t stream) : stream_(stream) {}

  cudaStream_t stream() const { return stream_; }

  /// Launches a kernel of the library. Defined in tempflow/cuda.cuh.
  template <class Kernel>
  void launch(const Kernel& kernel, const launch_shape& shape) const;

  /// The largest cluster that such blocks can form: 0 if the device cannot run them, 1 without clusters.
  /// Defined in tempflow/cuda.cuh.
  template <class Kernel>
  int largest_cluster(const Kernel& kernel, const launch_shape& shape) const;

  void* allocate(std::size_t bytes) const {
    void* memory = nullptr;
    check_cuda(cudaMallocAsync(&memory, bytes, stream_), "cudaMallocAsync");
    return memory;
  }

  /// For destructors: an error is cleared, not thrown.
  void release(void* memory) const noexcept {
    if (cudaFreeAsync(memory, stream_) != cudaSuccess) static_cast<void>(cudaGetLastError());
  }

  void clear(void* memory, std::size_t bytes) const {
    check_cuda(cudaMemsetAsync(memory, 0, bytes, stream_), "cudaMemsetAsync");
  }

  void copy(void* to, const void* from, std::size_t bytes) const {
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_), "cudaMemcpyAsync");
  }

  void copy_rows(void* to, index_t to_stride, const void* from, index_t from_stride, index_t row_bytes,
                 index_t rows) const {
    if (rows == 1 || (to_stride == row_bytes && from_stride == row_bytes)) {
      return copy(to, from, size(row_bytes * rows));
    }
    check_cuda(cudaMemcpy2DAsync(to, size(to_stride), from, size(from_stride), size(row_bytes), size(rows),
                                 cudaMemcpyDefault, stream_),
               "cudaMemcpy2DAsync");
  }

  void synchronize() const { check_cuda(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

  bool capturing() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check_cuda(cudaStreamIsCapturing(stream_, &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
  }

  memory_kind memory_of(const void* address) const {
    cudaPointerAttributes attributes{};
    check_cuda(cudaPointerGetAttributes(&attributes, address), "cudaPointerGetAttributes");
    switch (attributes.type) {
      case cudaMemoryTypeDevice:
      case cudaMemoryTypeManaged: return memory_kind::device;
      case cudaMemoryTypeHost: return memory_kind::pinned;
      default: return memory_kind::host;
    }
  }

 private:
  static std::size_t size(index_t count) { return static_cast<std::size_t>(count); }

  cudaStream_t stream_;
};

/// Runs on the current CUDA device, in the order of a stream: `tf::cuda_backend gpu{stream};`.
using cuda_backend = device_backend<cuda_device>;

}  // namespace tempflow
