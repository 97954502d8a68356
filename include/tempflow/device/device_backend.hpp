// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The backend for a device with memory of its own: what a CUDA device is to the operations. It is written
// over a Device, so that tests can run all of it on an emulated one:
//
//   launch(kernel, shape)                 in stream order, as all that follows but the last one
//   largest_cluster(kernel, shape)        blocks of a cluster, at most; 1 without clusters
//   allocate(bytes), release(memory, bytes), clear(memory, bytes)
//   copy(to, from, bytes)                 between any memories
//   copy_rows(to, to_stride, from, from_stride, row_bytes, rows)
//   capturing()                           whether the stream is being captured into a graph
//   memory_of(address)                    which memory an address lies in
//   synchronize()                         waits

#include <concepts>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/device/device_buffer.hpp"
#include "tempflow/device/device_workspace.hpp"
#include "tempflow/device/launch_shape.hpp"

namespace tempflow {

/// Runs on a device, in the order of one stream. A cheap value: copies share stream and workspace.
///
/// Batches (x, v, y, gradients) lie in device memory. Arguments and results per row (transitions, ids,
/// advantages; log-probs, policy rows) may lie in either. In host memory, arguments are checked and copied
/// when the operation is called, and results are there when it returns, so it waits. In device, managed or
/// pinned memory both are read and written in stream order; then arguments are not checked, and what they
/// break shows as numbers that are not finite.
///
/// Operations wait for nothing else, and allocate nothing but the workspace when it grows (reserve() it, or
/// bring your own). Buffers and rollouts allocate in stream order. A graph that captured operations is
/// replayed on the same stream, as long as a copy of the backend lives; it keeps what lay in host memory as
/// it was, and reads what lies in device, managed or pinned memory anew: keys, decays and tables that change
/// lie there. A stream that means another one in each thread (cudaStreamPerThread) needs a backend in each.
/// Sums have the bits of the cpu backend, and so have states and gradients in fp32 and below; logarithms and
/// exponentials are the device's own, within 2 ulp of the host's in double.
template <class Device>
class device_backend {
 public:
  using arithmetic = tiled_arithmetic;
  using device_type = Device;
  using memory_space = device_memory;

  /// On the device that is made of these, with a workspace that grows in stream order:
  /// `tf::cuda_backend gpu{stream};`.
  template <class... Parts>
    requires(sizeof...(Parts) > 0 && std::constructible_from<Device, const Parts&...>)
  explicit device_backend(const Parts&... parts)
      : device_(parts...), workspace_(std::make_shared<device_workspace<Device>>(device_)) {}

  /// With the caller's workspace in device memory, which must outlive the backend; see
  /// device_workspace_bytes.
  device_backend(const Device& device, std::span<std::byte> workspace)
      : device_(device), workspace_(std::make_shared<device_workspace<Device>>(device, workspace)) {}

  const Device& device() const { return device_; }

  /// Makes the workspace large enough for batches of up to rows x columns; afterwards operations on them do
  /// not allocate, and can be captured into a graph.
  void reserve(index_t rows, index_t columns, index_t explorations = 1) const {
    const std::lock_guard lock(workspace_->mutex());
    workspace_->reserve(device_workspace_bytes(rows, columns, explorations));
  }

  /// Waits until all work is done. Throws the device's error if some of it failed.
  void synchronize() const { device_.synchronize(); }

  /// A buffer in the device's memory, with nothing in it yet.
  template <storage_scalar T>
  device_buffer<T, Device> make_buffer(index_t rows, index_t columns) const {
    return {*this, rows, columns};
  }

  /// A buffer of zeros.
  template <storage_scalar T>
  device_buffer<T, Device> make_zeros(index_t rows, index_t columns) const {
    device_buffer<T, Device> buffer(*this, rows, columns);
    const batch_view<T> all = buffer.view();
    if (!all.empty()) device_.clear(all.data(), sizeof(T) * static_cast<std::size_t>(rows * columns));
    return buffer;
  }

  /// Where an address lies.
  memory_kind memory_of(const void* address) const { return device_.memory_of(address); }

  /// Whether the stream is being captured into a graph.
  bool capturing() const { return device_.capturing(); }

  /// Calls body(i) on the device for each i in [0, count), in any order. Body: trivially copyable, callable
  /// on the device.
  template <class Body>
  TEMPFLOW_HIDDEN void for_each_index(index_t count, const Body& body) const;

  device_workspace<Device>& workspace() const { return *workspace_; }

 private:
  Device device_;
  std::shared_ptr<device_workspace<Device>> workspace_;
};

namespace detail {

/// body(i), one thread each.
template <class Body>
struct index_kernel {
  static constexpr int max_warps = 8;
  static constexpr int min_blocks = 2;

  index_t count;
  Body body;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const index_t i = (thread.block() * max_warps + thread.warp()) * warp_lanes + thread.lane();
    if (i < count) body(i);
  }
};

}  // namespace detail

/// As declared: launches index_kernel<Body>.
template <class Device>
template <class Body>
void device_backend<Device>::for_each_index(index_t count, const Body& body) const {
  using kernel = detail::index_kernel<Body>;
  constexpr index_t threads = kernel::max_warps * warp_lanes;
  if (count < 1) return;
  device_.launch(kernel{count, body}, {.blocks = (count - 1) / threads + 1, .warps = kernel::max_warps});
}

}  // namespace tempflow
