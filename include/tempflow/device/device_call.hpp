// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// One operation on a device: its arguments' way to the device, and its results' way back.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tempflow/config.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/noise_source.hpp"
#include "tempflow/core/stream_value.hpp"
#include "tempflow/device/device_backend.hpp"
#include "tempflow/device/row_table.hpp"
#include "tempflow/ops/detail/operation_arguments.hpp"

namespace tempflow::detail {

/// The arguments of an operation on a device.
template <class Device>
using device_arguments = operation_arguments<device_backend<Device>>;

/// Holds the workspace while an operation is launched.
template <class Device>
class TEMPFLOW_HIDDEN device_call {
 public:
  device_call(const device_arguments<Device>& arguments, std::string_view operation)
      : arguments_(arguments),
        workspace_(arguments.backend().workspace()),
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
    if (!batch.empty() && in_host_memory(batch.data())) {
      throw memory_error(message(operation_, ": ", name,
                                 " lies in host memory, which the device does not reach; ",
                                 "the batches of a device backend lie in device memory (make_buffer)"));
    }
    if constexpr (sizeof...(others) > 0) expects(others...);
  }

  /// Throws memory_error for a result in host memory while the stream is captured, which nothing can wait
  /// for.
  void expects_to_wait(std::string_view name) const {
    if (device().capturing()) {
      throw memory_error(message(operation_, ": ", name,
                                 " lies in host memory, which cannot be waited for while ",
                                 "the stream is being captured; use device, managed or pinned memory"));
    }
  }

  /// Memory until the operation is done.
  template <class T>
  T* take(index_t count) {
    return reinterpret_cast<T*>(workspace_.take(sizeof(T) * static_cast<std::size_t>(count)));
  }

  std::uint32_t* counters(index_t rows) { return workspace_.counters(rows); }

  /// Values that kernels read in stream order, unless they lie where only the host can read them now.
  template <class T>
  stream_value<T> on_device(const stream_value<T>& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return arguments_.host_reads(value.address()) ? stream_value<T>(*value) : value;
  }

  /// Noise for a kernel, whose tables are yet to be placed.
  noise_table on_device(const noise_source& noise) const {
    return {on_device(noise.key), noise.ids, noise.antithetic,
            static_cast<std::uint32_t>(noise.first_element / 4)};
  }

  /// Values in host memory; none for an argument that the device reaches.
  struct host_table {
    const void* from = nullptr;
    std::size_t bytes = 0;
  };
  template <class T>
  host_table host_table_of(std::span<const T> values) const {
    if (values.empty() || !in_host_memory(values.data())) return {};
    return {values.data(), values.size_bytes()};
  }
  template <class T>
  host_table host_table_of(const row_table<T>& table) const {
    if (!table.varies()) return {table.values().data(), sizeof(T)};
    return host_table_of(table.values());
  }

  /// Brings tables that still refer to the host's memory to where the kernel, whose members they and the
  /// block are, can read them: into the block if there is room for all, else by one upload.
  template <class... T>
  void place(table_block& block, row_table<T>&... tables) {
    const host_table host[] = {host_table_of(tables)...};
    std::size_t bytes = 0;
    for (const host_table& table : host) {
      if (uploaded(table.from) == nullptr) bytes += table_bytes(table.bytes);
    }
    if (bytes > table_block::max_bytes) upload(host);
    std::byte* to = block.bytes;
    const auto put = [&](auto& table, const host_table& from) {
      if (from.bytes == 0) return;
      if (const void* const copy = uploaded(from.from)) return table.place_at(copy);
      std::memcpy(to, from.from, from.bytes);
      table.place_in_block(to);
      to += table_bytes(from.bytes);
    };
    const host_table* next = host;
    (put(tables, *next++), ...);
  }

  /// Copies tables of the host into the workspace, packed into as few launches as they fill.
  void upload(std::span<const host_table> tables) {
    std::size_t bytes = 0;
    for (const host_table& table : tables) bytes += table_bytes(table.bytes);
    if (bytes == 0) return;
    std::byte* const to = workspace_.take(bytes);
    std::vector<std::byte> packed(bytes);
    std::size_t at = 0;
    for (const host_table& table : tables) {
      if (table.bytes == 0) continue;
      std::memcpy(packed.data() + at, table.from, table.bytes);
      uploaded_.push_back({table.from, to + at});
      at += table_bytes(table.bytes);
    }
    for (at = 0; at < bytes; at += upload_kernel::max_bytes) {
      upload_kernel piece{
          .to = to + at, .size = (std::min)(bytes - at, upload_kernel::max_bytes), .bytes = {}};
      std::memcpy(piece.bytes, packed.data() + at, piece.size);
      launch(piece, {.blocks = 1, .warps = upload_kernel::max_warps});
    }
  }

  /// Where an address of the host was uploaded to, or null.
  const void* uploaded(const void* from) const {
    for (const auto& [host, copy] : uploaded_) {
      if (host == from) return copy;
    }
    return nullptr;
  }

  /// Values where kernels can read them: uploaded from the host's memory, or their own.
  template <class T>
  const T* on_device(std::span<const T> values) const {
    const void* const copy = uploaded(values.data());
    return copy != nullptr ? static_cast<const T*>(copy) : values.data();
  }

  /// Where kernels write a result: its own memory if the device reaches it. Else it is copied by finish().
  /// Throws memory_error when that would have to wait for a stream that is being captured.
  template <class T>
  T* output(std::string_view name, std::span<T> to) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (to.empty()) return nullptr;
    if (!in_host_memory(to.data())) return to.data();
    expects_to_wait(name);
    T* const from = take<T>(static_cast<index_t>(to.size()));
    results_.push_back({to.data(), from, to.size_bytes()});
    return from;
  }

  template <class Kernel>
  void launch(const Kernel& kernel, const launch_shape& shape) const {
    device().launch(kernel, shape);
  }

  /// body(i) for each i in [0, count).
  template <class Body>
  void launch_for_each(index_t count, const Body& body) const {
    arguments_.backend().for_each_index(count, body);
  }

  /// Copies results into host memory, where there are any: waits.
  void finish() {
    for (const auto& [to, from, bytes] : results_) device().copy(to, from, bytes);
    if (!results_.empty()) device().synchronize();
  }

  const Device& device() const { return arguments_.backend().device(); }

 private:
  struct result {
    void* to;
    const void* from;
    std::size_t bytes;
  };

  bool in_host_memory(const void* address) const {
    return arguments_.memory_of(address) == memory_kind::host;
  }

  const device_arguments<Device>& arguments_;
  device_workspace<Device>& workspace_;
  std::string_view operation_;
  std::lock_guard<std::mutex> lock_;
  std::vector<result> results_;
  std::vector<std::pair<const void*, const std::byte*>> uploaded_;
};

}  // namespace tempflow::detail
