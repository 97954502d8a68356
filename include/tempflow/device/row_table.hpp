// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Values per row as kernels take them. Those that lie in the device's memory are read there. Small ones of
// the host travel in the parameters of the kernel itself, where a launch is a copy: nothing else is launched
// for them, they need not outlive the call, and a captured graph keeps them.

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/noise_source.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/core/stream_value.hpp"
#include "tempflow/device/launch_shape.hpp"

namespace tempflow::detail {

/// Tables begin on such boundaries, and are copied in words of as many bytes.
inline constexpr std::size_t table_alignment = 16;

constexpr std::size_t table_bytes(std::size_t bytes) {
  return (bytes + table_alignment - 1) / table_alignment * table_alignment;
}

/// Room for the tables of one operation in the parameters of its kernel, which have 4 KiB.
struct table_block {
  static constexpr std::size_t max_bytes = 2048;

  alignas(table_alignment) std::byte bytes[max_bytes];
};

/// One value for all rows or one for each, a member of a kernel: at an address, or in the kernel's
/// table_block, which lies at a fixed distance from this object wherever the parameters are copied to. Hence
/// no copies of it alone.
template <class T>
class row_table {
 public:
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= table_alignment);

  row_table() = default;
  row_table(const per_row<T>& values)
      : place_(reinterpret_cast<std::uintptr_t>(values.varies() ? values.data() : &values[0])),
        size_(values.size()),
        varies_(values.varies()) {}
  row_table(std::span<const T> values) : row_table(per_row<T>(values)) {}

  row_table(const row_table&) = delete;
  row_table& operator=(const row_table&) = delete;
  row_table(row_table&&) = default;  // with the kernel that it is a member of
  row_table& operator=(row_table&&) = default;

  TEMPFLOW_HD const T& operator[](index_t row) const {
    const std::uintptr_t first = in_block_ ? reinterpret_cast<std::uintptr_t>(this) + place_ : place_;
    return reinterpret_cast<const T*>(first)[varies_ ? row : 0];
  }

  /// True when each row has a value of its own.
  bool varies() const { return varies_; }

  /// The values where they lie before they are placed in a block: one, or one for each row.
  std::span<const T> values() const {
    return {reinterpret_cast<const T*>(place_), static_cast<std::size_t>(size_)};
  }

  void place_at(const void* address) { place_ = reinterpret_cast<std::uintptr_t>(address); }

  /// In the block of the kernel that this is a member of.
  void place_in_block(const std::byte* address) {
    place_ = reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(this);
    in_block_ = true;
  }

 private:
  std::uintptr_t place_ = 0;  ///< an address, or the distance from here
  index_t size_ = 0;
  bool varies_ = false, in_block_ = false;
};

/// noise_source for a kernel.
struct noise_table {
  stream_value<noise_key> key;
  row_table<noise_id> ids;
  bool antithetic;
  std::uint32_t first_block;  ///< of four elements

  TEMPFLOW_HD noise_draw operator[](index_t row) const { return {ids[row], antithetic}; }
};

/// Writes what it has in its parameters to the device's memory, a word for each thread.
struct upload_kernel {
  static constexpr int max_warps = 7;
  static constexpr int min_blocks = 2;
  static constexpr std::size_t max_bytes = max_warps * warp_lanes * table_alignment;

  std::byte* to;
  std::size_t size;  ///< a multiple of the words'
  alignas(table_alignment) std::byte bytes[max_bytes];

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto at = static_cast<std::size_t>(thread.warp() * warp_lanes + thread.lane()) * table_alignment;
    if (at >= size) return;
    // Laundered, because the bank of the constants serves one address at a time, and this path a whole
    // warp's.
    const index_t from = thread.launder(static_cast<index_t>(reinterpret_cast<std::uintptr_t>(bytes + at)));
    using word = access_words<table_alignment>;
    thread.write(to + at, *reinterpret_cast<const word*>(static_cast<std::uintptr_t>(from)));
  }
};

}  // namespace tempflow::detail
