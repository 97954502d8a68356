// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A device whose memory comes from a resource of the caller's, as RAPIDS's rmm and the allocators of
// frameworks have them: buffers, rollouts and the workspace take it from there, in stream order. Kernels and
// launchers are those of the device itself.
//
//   struct my_pool {
//     rmm::mr::device_memory_resource* pool;
//     void* allocate(std::size_t bytes, cudaStream_t stream) { return pool->allocate(bytes, stream); }
//     void deallocate(void* memory, std::size_t bytes, cudaStream_t stream) { pool->deallocate(memory, bytes, stream); }
//   };
//   tf::cuda_backend_with<my_pool> gpu{tf::cuda_device{stream}, my_pool{pool}};

#include <concepts>
#include <cstddef>
#include <utility>

namespace tempflow {

/// A cheap value that allocates in the order of a stream; its copies are one resource. Memory lies on
/// boundaries of 256 bytes. allocate throws where there is none left, deallocate does not throw.
template <class M, class Stream>
concept memory_resource = std::copyable<M> &&
    requires(M& resource, void* memory, std::size_t bytes, Stream stream) {
  { resource.allocate(bytes, stream) } -> std::convertible_to<void*>;
  resource.deallocate(memory, bytes, stream);
};

/// A Device with stream() and make_current() that takes memory from a resource.
template <class Device, class Memory>
class device_with_memory : public Device {
 public:
  explicit device_with_memory(const Device& device, Memory memory)
      : Device(device), memory_(std::move(memory)) {}

  void* allocate(std::size_t bytes) const {
    [[maybe_unused]] const auto current = this->make_current();
    return memory_.allocate(bytes, this->stream());
  }
  void release(void* memory, std::size_t bytes) const noexcept try {
    [[maybe_unused]] const auto current = this->make_current();
    memory_.deallocate(memory, bytes, this->stream());
  } catch (...) {  // of a runtime that is shutting down
  }

 private:
  mutable Memory memory_;  // of a device, which is const, as a stream that is written to is
};

}  // namespace tempflow
