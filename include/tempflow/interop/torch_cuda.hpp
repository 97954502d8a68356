// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The CUDA backend in a LibTorch program: torch's current stream, and memory from torch's caching allocator.
//
//   const tf::torch_cuda_backend gpu = tf::torch_backend_on(x);     // the stream that is current on x's device, now
//   tf::step(gpu, tf::batch_view_of<const float>(x, at::kCUDA), ...);
//
// For C++ and CUDA sources; what they call is compiled where tempflow/cuda.cuh is included (cuda.hpp says how). Needs
// c10_cuda beside ATen. As torch's own operators, nothing waits but for results in host memory, and all of it can be captured
// by at::cuda::CUDAGraph, when an equal call has run in the same stream before.

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "tempflow/cuda.hpp"
#include "tempflow/interop/torch.hpp"

namespace tempflow {

/// A memory_resource: torch's caching allocator. Memory is in the order of the stream that it was taken for.
struct torch_cuda_memory {
  void* allocate(std::size_t bytes, cudaStream_t stream) const {
    // The default stream has two names, and torch looks its memory up by this one.
    return c10::cuda::CUDACachingAllocator::raw_alloc_with_stream(
        bytes, stream == cudaStreamLegacy ? nullptr : stream);
  }
  void deallocate(void* memory, std::size_t, cudaStream_t) const {
    c10::cuda::CUDACachingAllocator::raw_delete(memory);
  }
};

/// A CUDA backend whose workspace, buffers and rollouts are torch's memory.
using torch_cuda_backend = cuda_backend_with<torch_cuda_memory>;

/// The backend of a stream of torch's, which should be current while it is used: other tensors are made in the current one. It
/// keeps its workspace from call to call: make it once per stream.
inline torch_cuda_backend torch_backend_on(c10::cuda::CUDAStream stream) {
  const cudaStream_t name = stream.stream() == nullptr ? cudaStreamLegacy : stream.stream();
  return torch_cuda_backend(cuda_device(name, stream.device_index()), torch_cuda_memory());
}

/// The backend of the stream that is current on a tensor's device.
/// Throws memory_error for a tensor that is not on a CUDA device.
inline torch_cuda_backend torch_backend_on(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) {
    throw memory_error(
        detail::message("torch_backend_on: ", detail::torch_text(tensor), ", expected on cuda"));
  }
  return torch_backend_on(c10::cuda::getCurrentCUDAStream(tensor.get_device()));
}

/// A buffer in torch's memory as a tensor (B, shape...), handed over: `tensor_of(std::move(samples), {16, 64, 64})`. It is
/// freed in the order of the backend's stream; use it there, or have that stream wait before the tensor goes (record_stream does
/// nothing for it).
/// Throws shape_error unless the extents of `shape` multiply to the columns.
template <storage_scalar T>
at::Tensor tensor_of(device_buffer<T, torch_cuda_backend::device_type>&& buffer, at::IntArrayRef shape) {
  using buffer_type = device_buffer<T, torch_cuda_backend::device_type>;
  const auto kept = std::make_shared<buffer_type>(std::move(buffer));
  const batch_view<T> batch = kept->view();
  const auto strides =
      detail::strides_of_rows("tensor_of", {shape.data(), shape.size()}, batch.columns(), batch.row_stride());
  std::vector<std::int64_t> sizes{batch.rows()};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  const at::Device where(at::kCUDA, static_cast<c10::DeviceIndex>(kept->backend().device().id()));
  return at::from_blob(
      batch.data(), sizes, strides, [owner = kept](void*) mutable { owner.reset(); },
      at::TensorOptions(detail::torch_dtype<T>()).device(where), where);
}

}  // namespace tempflow
