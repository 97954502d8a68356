// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Memory that the operations of a device backend work in: tables of rows that came from the host, sums of
// tiles, results on their way back. Operations of one stream follow each other, so they share it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {
namespace detail {

/// Rows whose warps can meet at counters that are always there.
inline constexpr index_t standing_counters = 65536;
inline constexpr std::size_t counter_bytes = standing_counters * sizeof(std::uint32_t);
inline constexpr std::size_t workspace_alignment = 256;

constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + workspace_alignment - 1) / workspace_alignment * workspace_alignment;
}

}  // namespace detail

/// Bytes of workspace that suffice for every operation on batches of up to rows x columns, with up to
/// `explorations` explorations per row, and for the advantages of as many samples as rows. Of a policy_batch the
/// transitions are the rows, or the states where these are more. Throws shape_error for extents that are negative.
inline std::size_t device_workspace_bytes(index_t rows, index_t columns, index_t explorations = 1) {
  if (rows < 0 || columns < 0 || explorations < 0) {
    throw shape_error(detail::message("device_workspace_bytes: ", rows, " rows of ", columns,
                                      " elements, explorations = ", explorations));
  }
  constexpr index_t max_sums = 7;  // of a tile: those of the general loss
  const index_t tiles = (columns + 1023) / 1024, sums = (std::max)(max_sums, explorations);
  constexpr index_t row_table_bytes = 512;  // transitions, ids, doubles, slopes, a policy_row
  constexpr index_t most = index_t{1} << 60;
  if (sums > most / 8 / (tiles + 2) || (rows > 0 && row_table_bytes + 8 * sums * (tiles + 2) > most / rows)) {
    throw shape_error(detail::message("device_workspace_bytes: ", rows, " rows of ", columns,
                                      " elements, explorations = ", explorations, ": too large to address"));
  }
  const index_t row = row_table_bytes + 8 * sums * (tiles + 2);
  return detail::counter_bytes + 16 * detail::workspace_alignment + static_cast<std::size_t>(rows * row);
}

/// The workspace of one stream, shared by all copies of a backend. Grows when an operation needs more than
/// all before it, unless it is the caller's memory.
template <class Device>
class device_workspace {
 public:
  /// Takes its memory from the device, in stream order.
  explicit device_workspace(const Device& device) : device_(device), owned_(true) {}

  /// Uses the caller's device memory, aligned to 256 bytes, and never allocates. Throws memory_error for
  /// memory that is misaligned or too small for the counters.
  device_workspace(const Device& device, std::span<std::byte> memory) : device_(device), owned_(false) {
    if (memory.size() < detail::counter_bytes ||
        reinterpret_cast<std::uintptr_t>(memory.data()) % detail::workspace_alignment != 0) {
      throw memory_error(detail::message("device_workspace: ", memory.size(), " bytes, must be at least ",
                                         detail::counter_bytes, ", aligned to ",
                                         detail::workspace_alignment));
    }
    device_.clear(memory.data(), detail::counter_bytes);
    counters_ = reinterpret_cast<std::uint32_t*>(memory.data());
    block_ = memory.data() + detail::counter_bytes;
    size_ = memory.size() - detail::counter_bytes;
  }

  device_workspace(const device_workspace&) = delete;
  device_workspace& operator=(const device_workspace&) = delete;

  ~device_workspace() {
    release_retired();
    if (!owned_) return;
    if (block_ != nullptr) device_.release(block_, size_);
    for (const auto block : kept_) device_.release(block.data(), block.size());
    if (counters_ != nullptr) device_.release(counters_, detail::counter_bytes);
  }

  /// Held while an operation is launched.
  std::mutex& mutex() { return mutex_; }

  /// Begins an operation.
  void begin() { captured_ = captured_ || device_.capturing(); }

  /// Makes room before an operation or a capture asks for it.
  void reserve(std::size_t bytes) {
    counters();
    if (bytes > size_) grow(bytes);
    release_retired();
  }

  /// Memory until the next operation. Throws memory_error when the caller's memory has no more, or when it
  /// would have to grow while the stream is captured into a graph.
  std::byte* take(std::size_t bytes) {
    bytes = detail::aligned((std::max)(bytes, std::size_t{1}));
    if (bytes > size_ - used_) grow(used_ + bytes);
    std::byte* const memory = block_ + used_;
    used_ += bytes;
    return memory;
  }

  /// One counter per row, all 0; whoever counts with them leaves them so.
  std::uint32_t* counters(index_t rows = 0) {
    if (rows > detail::standing_counters) {
      const std::size_t bytes = static_cast<std::size_t>(rows) * sizeof(std::uint32_t);
      std::byte* const memory = take(bytes);
      device_.clear(memory, bytes);
      return reinterpret_cast<std::uint32_t*>(memory);
    }
    if (counters_ == nullptr) {
      check_may_grow(detail::counter_bytes);
      void* const memory = device_.allocate(detail::counter_bytes);
      try {
        device_.clear(memory, detail::counter_bytes);
      } catch (...) {
        device_.release(memory, detail::counter_bytes);
        throw;
      }
      counters_ = static_cast<std::uint32_t*>(memory);
    }
    return counters_;
  }

  /// All that was taken is free, in stream order.
  void finish() noexcept {
    release_retired();
    used_ = 0;
  }

 private:
  void check_may_grow(std::size_t bytes) const {
    if (!owned_) {
      throw memory_error(
          detail::message("device_workspace: an operation needs ", bytes, " bytes, the caller's memory has ",
                          size_, "; device_workspace_bytes(rows, columns, explorations) says what suffices"));
    }
    if (device_.capturing()) {
      throw memory_error(detail::message(
          "device_workspace: ", bytes, " bytes are needed, ", size_,
          " are there, and the stream is being captured; call reserve(rows, columns, explorations)",
          " on the backend before"));
    }
  }

  /// A larger block. What lies in the old one stays there until the operation ends.
  void grow(std::size_t bytes) {
    check_may_grow(bytes);
    bytes = (std::max)(detail::aligned(bytes), 2 * size_);
    retired_.reserve(retired_.size() + 1);
    kept_.reserve(kept_.size() + 1);
    auto* const larger = static_cast<std::byte*>(device_.allocate(bytes));
    if (block_ != nullptr) (captured_ ? kept_ : retired_).push_back({block_, size_});  // a graph may hold it
    captured_ = false;
    block_ = larger;
    size_ = bytes;
    used_ = 0;
  }

  void release_retired() noexcept {
    for (const auto block : retired_) device_.release(block.data(), block.size());
    retired_.clear();
  }

  Device device_;
  bool owned_;
  std::mutex mutex_;
  std::uint32_t* counters_ = nullptr;
  std::byte* block_ = nullptr;
  std::size_t size_ = 0, used_ = 0;
  bool captured_ = false;  ///< an operation with this block was captured into a graph
  std::vector<std::span<std::byte>> retired_, kept_;
};

}  // namespace tempflow
