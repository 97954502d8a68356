// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// One operation on a device: its arguments' way to the device, and its results' way back.

#include <cstddef>
#include <cstring>
#include <mutex>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/noise_source.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/core/stream_value.hpp"
#include "tempflow/device/device_backend.hpp"

namespace tempflow::detail {

/// Writes bytes that travel as its own arguments: in stream order, from memory that need not outlive the call,
/// and part of a graph if the stream is captured.
struct upload_kernel {
  static constexpr int most_warps = 4;
  static constexpr int least_blocks = 2;
  static constexpr std::size_t most_bytes = 3584;  // arguments of a kernel have 4 KiB

  std::byte* to;
  std::size_t size;
  std::byte bytes[most_bytes];

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    constexpr std::size_t threads = most_warps * warp_lanes;
    for (std::size_t i = static_cast<std::size_t>(thread.warp() * warp_lanes + thread.lane()); i < size;
         i += threads) {
      to[i] = bytes[i];
    }
  }
};

/// Holds the workspace while an operation is launched.
template <class Device>
class device_call {
 public:
  device_call(const device_backend<Device>& backend, std::string_view operation)
      : device_(backend.device()),
        workspace_(backend.workspace()),
        operation_(operation),
        lock_(workspace_.mutex()) {
    workspace_.begin();
  }

  device_call(const device_call&) = delete;
  device_call& operator=(const device_call&) = delete;

  ~device_call() { workspace_.finish(); }

  /// Throws memory_error for a batch that the device does not reach: expects("x", x, "v", v).
  template <class T, class... Others>
  void expects(std::string_view name, const batch_view<T>& batch, const Others&... others) const {
    if (!batch.empty() && device_.memory_of(batch.data()) == memory_kind::host) {
      throw memory_error(message(operation_, ": ", name,
                                 " lies in host memory, which the device does not reach; ",
                                 "the batches of a device backend lie in device memory (make_buffer)"));
    }
    if constexpr (sizeof...(others) > 0) expects(others...);
  }

  /// Throws memory_error for a result in host memory while the stream is captured, which nothing can wait for.
  void expects_to_wait(std::string_view name) const {
    if (device_.capturing()) {
      throw memory_error(message(operation_, ": ", name,
                                 " lies in host memory, which cannot be waited for while ",
                                 "the stream is being captured; use device or pinned memory"));
    }
  }

  /// Memory until the operation is done.
  template <class T>
  T* take(index_t count) {
    return reinterpret_cast<T*>(workspace_.take(sizeof(T) * static_cast<std::size_t>(count)));
  }

  std::uint32_t* counters(index_t rows) { return workspace_.counters(rows); }

  /// The argument where kernels can read it.
  template <class T>
  per_row<T> on_device(const per_row<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!values.varies() || values.size() == 0) return values;
    return std::span<const T>(on_device(values.data(), values.size()),
                              static_cast<std::size_t>(values.size()));
  }
  template <class T>
  const T* on_device(const T* values, index_t count) {
    if (count == 0 || device_.memory_of(values) != memory_kind::host) return values;
    T* const copy = take<T>(count);
    upload(reinterpret_cast<std::byte*>(copy), reinterpret_cast<const std::byte*>(values),
           sizeof(T) * static_cast<std::size_t>(count));
    return copy;
  }

  /// Values that kernels read in stream order, unless they lie where only the host can read them now.
  template <class T>
  stream_value<T> on_device(const stream_value<T>& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    const bool later = value.address() != nullptr && device_.memory_of(value.address()) != memory_kind::host;
    return later ? value : stream_value<T>(*value);
  }
  noise_source on_device(const noise_source& noise) { return {on_device(noise.key), on_device(noise.ids)}; }

  /// Where kernels write a result: its own memory if the device reaches it. Else it is copied by finish().
  /// Throws memory_error when that would have to wait for a stream that is being captured.
  template <class T>
  T* output(std::string_view name, std::span<T> to) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (to.empty()) return nullptr;
    if (device_.memory_of(to.data()) != memory_kind::host) return to.data();
    expects_to_wait(name);
    T* const from = take<T>(static_cast<index_t>(to.size()));
    results_.push_back({to.data(), from, to.size_bytes()});
    return from;
  }

  template <class Kernel>
  void launch(const Kernel& kernel, const launch_shape& shape) const {
    device_.launch(kernel, shape);
  }

  /// Copies results into host memory, where there are any: waits.
  void finish() {
    for (const auto& [to, from, bytes] : results_) device_.copy(to, from, bytes);
    if (!results_.empty()) device_.synchronize();
  }

  const Device& device() const { return device_; }

 private:
  struct result {
    void* to;
    const void* from;
    std::size_t bytes;
  };

  void upload(std::byte* to, const std::byte* from, std::size_t bytes) const {
    for (std::size_t at = 0; at < bytes; at += upload_kernel::most_bytes) {
      upload_kernel piece{
          .to = to + at, .size = (std::min)(bytes - at, upload_kernel::most_bytes), .bytes = {}};
      std::memcpy(piece.bytes, from + at, piece.size);
      launch(piece, {.blocks = 1, .warps = upload_kernel::most_warps});
    }
  }

  const Device& device_;
  device_workspace<Device>& workspace_;
  std::string_view operation_;
  std::lock_guard<std::mutex> lock_;
  std::vector<result> results_;
};

}  // namespace tempflow::detail
