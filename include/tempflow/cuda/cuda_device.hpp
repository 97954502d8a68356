// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A stream of a CUDA device: what the device backend asks of the CUDA runtime. Kernels are launched by
// tempflow/cuda.cuh, which needs a CUDA compiler; a program that has no CUDA source of its own includes
// tempflow/cuda.hpp and links code that does.

#include <cuda_runtime_api.h>

#include <cstddef>

#include "tempflow/config.hpp"
#include "tempflow/cuda/cuda_error.hpp"
#include "tempflow/device/device_backend.hpp"
#include "tempflow/device/device_with_memory.hpp"

namespace tempflow {

/// The device that calls of the runtime go to on this thread.
inline int current_cuda_device() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  return device;
}

/// Makes a device the current one while it lives. Costs a look at the thread where it is so already.
class cuda_device_guard {
 public:
  explicit cuda_device_guard(int device) : before_(current_cuda_device()), changed_(before_ != device) {
    if (changed_) check_cuda(cudaSetDevice(device), "cudaSetDevice");
  }
  cuda_device_guard(const cuda_device_guard&) = delete;
  cuda_device_guard& operator=(const cuda_device_guard&) = delete;
  ~cuda_device_guard() {
    if (changed_ && cudaSetDevice(before_) != cudaSuccess) static_cast<void>(cudaGetLastError());
  }

 private:
  int before_;
  bool changed_;
};

/// Work on a stream, which must outlive it, and its device. Nothing goes to another stream.
///
/// Memory comes from the device's own pool (cudaMallocAsync); device_with_memory takes it from elsewhere.
class cuda_device {
 public:
  /// A stream of the current device. The legacy default stream has a name, cudaStreamLegacy, so that nobody
  /// gets it by a 0: it cannot be captured, and fails while another thread captures.
  explicit cuda_device(cudaStream_t stream) : cuda_device(stream, current_cuda_device()) {}

  /// A stream of another device, by its number.
  explicit cuda_device(cudaStream_t stream, int device) : stream_(stream), id_(device) {}

  cuda_device(int) = delete;
  cuda_device(int, int) = delete;
  cuda_device(std::nullptr_t) = delete;
  cuda_device(std::nullptr_t, int) = delete;

  cudaStream_t stream() const { return stream_; }

  /// The device's number.
  int id() const { return id_; }

  /// Makes the device current while the result lives.
  cuda_device_guard make_current() const { return cuda_device_guard(id_); }

  /// Launches a kernel of the library. Defined in tempflow/cuda.cuh.
  template <class Kernel>
  TEMPFLOW_HIDDEN void launch(const Kernel& kernel, const launch_shape& shape) const;

  /// The largest cluster that such blocks can form: 0 if the device cannot run them, 1 without clusters.
  /// Defined in tempflow/cuda.cuh.
  template <class Kernel>
  TEMPFLOW_HIDDEN int largest_cluster(const Kernel& kernel, const launch_shape& shape) const;

  void* allocate(std::size_t bytes) const {
    const auto current = make_current();
    void* memory = nullptr;
    check_cuda(cudaMallocAsync(&memory, bytes, stream_), "cudaMallocAsync");
    return memory;
  }

  /// For destructors: an error is cleared, not thrown.
  void release(void* memory, std::size_t) const noexcept try {
    const auto current = make_current();
    check_cuda(cudaFreeAsync(memory, stream_), "cudaFreeAsync");
  } catch (const cuda_error&) {
  }

  void clear(void* memory, std::size_t bytes) const {
    const auto current = make_current();
    check_cuda(cudaMemsetAsync(memory, 0, bytes, stream_), "cudaMemsetAsync");
  }

  void copy(void* to, const void* from, std::size_t bytes) const {
    const auto current = make_current();
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_), "cudaMemcpyAsync");
  }

  void copy_rows(void* to, index_t to_stride, const void* from, index_t from_stride, index_t row_bytes,
                 index_t rows) const {
    if (rows == 1 || (to_stride == row_bytes && from_stride == row_bytes)) {
      return copy(to, from, size(row_bytes * rows));
    }
    const auto current = make_current();
    check_cuda(cudaMemcpy2DAsync(to, size(to_stride), from, size(from_stride), size(row_bytes), size(rows),
                                 cudaMemcpyDefault, stream_),
               "cudaMemcpy2DAsync");
  }

  void synchronize() const {
    const auto current = make_current();
    check_cuda(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

  bool capturing() const {
    const auto current = make_current();
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check_cuda(cudaStreamIsCapturing(stream_, &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
  }

  /// The same on every device: they share one space of addresses.
  static memory_kind memory_of(const void* address) {
    cudaPointerAttributes attributes{};
    check_cuda(cudaPointerGetAttributes(&attributes, address), "cudaPointerGetAttributes");
    switch (attributes.type) {
      case cudaMemoryTypeDevice: return memory_kind::device;
      case cudaMemoryTypeManaged: return memory_kind::managed;
      case cudaMemoryTypeHost: return memory_kind::pinned;
      default: return memory_kind::host;
    }
  }

 private:
  static std::size_t size(index_t count) { return static_cast<std::size_t>(count); }

  cudaStream_t stream_;
  int id_;
};

/// Runs on a CUDA device, in the order of a stream: `tf::cuda_backend gpu{stream};`, or `gpu{stream, 1}` for
/// a stream of device 1 while another is current.
using cuda_backend = device_backend<cuda_device>;

/// With memory from a resource: `tf::cuda_backend_with<my_pool> gpu{tf::cuda_device{stream}, pool};`.
template <memory_resource<cudaStream_t> Memory>
using cuda_backend_with = device_backend<device_with_memory<cuda_device, Memory>>;

}  // namespace tempflow
