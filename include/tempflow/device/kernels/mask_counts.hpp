// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How many elements a mask counts, for kernels that come after: a block of warps for each of its rows, since a row that
// all states share is counted once.

#include <cstdint>

#include "tempflow/core/element_mask.hpp"
#include "tempflow/device/device_call.hpp"
#include "tempflow/device/kernels/slab.hpp"

namespace tempflow::detail {

/// What enters: all elements.
struct all_elements {
  static constexpr bool masked = false;

  TEMPFLOW_DEVICE index_t number(index_t, index_t columns) const { return columns; }

  /// Whether a mask's accesses are whole.
  template <class Tile>
  TEMPFLOW_INLINE_DEVICE bool whole(const Tile&, index_t) const {
    return true;
  }

  /// Reads a tile of a state: visit(access, words, words).
  template <bool Whole, class Thread, class Tile, class States, class Velocities, class Visit>
  TEMPFLOW_INLINE_DEVICE void each_read(const Thread& thread, const Tile& tile, const States& states,
                                        const Velocities& velocities, index_t, const Visit& visit) const {
    tile.template each_read<Whole>(thread, states, velocities, visit);
  }
};

/// What enters: the elements that a mask counts.
struct masked_elements {
  static constexpr bool masked = true;

  element_mask mask;
  const index_t* counts;  ///< of each row of the mask

  TEMPFLOW_DEVICE index_t number(index_t state, index_t) const {
    return counts[mask.rows() == 1 ? 0 : state];
  }

  template <class Tile>
  TEMPFLOW_INLINE_DEVICE bool whole(const Tile& tile, index_t state) const {
    return tile.whole_mask(tile.of(mask.row(state)));
  }

  /// Reads a tile of a state: visit(access, words, words, bytes).
  template <bool Whole, class Thread, class Tile, class States, class Velocities, class Visit>
  TEMPFLOW_INLINE_DEVICE void each_read(const Thread& thread, const Tile& tile, const States& states,
                                        const Velocities& velocities, index_t state,
                                        const Visit& visit) const {
    tile.template each_read<Whole>(thread, states, velocities, tile.of(mask.row(state)), visit);
  }
};

/// A block for each row.
struct mask_counts_kernel {
  static constexpr int max_warps = 16;
  static constexpr int min_blocks = 2;

  element_mask mask;
  index_t* counts;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const index_t row = thread.row();
    if (row >= mask.rows()) return;
    auto* const of_warps = reinterpret_cast<index_t*>(thread.shared());
    const index_t counted = fold(thread, counted_by_lane(thread, mask.row(row)));
    if (thread.lane() == 0) of_warps[thread.warp()] = counted;
    thread.sync_block();
    if (thread.warp() != 0 || thread.lane() != 0) return;
    index_t all = 0;
    for (int w = 0; w < thread.warps(); ++w) all += of_warps[w];
    counts[row] = all;
  }

 private:
  static constexpr int width = 8;

  template <class Thread>
  TEMPFLOW_INLINE_DEVICE index_t counted_by_lane(const Thread& thread, const std::uint8_t* row) const {
    const index_t lanes = thread.warps() * warp_lanes, lane = thread.warp() * warp_lanes + thread.lane();
    const index_t columns = mask.columns();
    index_t counted = 0, e = lane * width;
    const auto add = [&](std::uint32_t byte) { counted += byte != 0 ? 1 : 0; };
    if (reinterpret_cast<std::uintptr_t>(row) % width == 0) {
      for (; e + width <= columns; e += lanes * width) {
        const access_bytes<width> bytes = thread.template read_bytes<width>(row + e);
        for (int j = 0; j < width; ++j) add(bytes[j]);
      }
    } else {
      for (; e + width <= columns; e += lanes * width) {
        for (int j = 0; j < width; ++j) add(row[e + j]);
      }
    }
    for (index_t j = e; j < columns && j < e + width; ++j) add(row[j]);
    return counted;
  }
};

/// Counts the elements of a mask, in the workspace.
template <class Device>
masked_elements count_elements(device_call<Device>& call, const element_mask& mask) {
  constexpr int warps = mask_counts_kernel::max_warps;
  index_t* const counts = call.template take<index_t>(mask.rows());
  call.launch(mask_counts_kernel{.mask = mask, .counts = counts},
              {.blocks = 1, .rows = mask.rows(), .warps = warps, .shared_bytes = warps * sizeof(index_t)});
  return {.mask = mask, .counts = counts};
}

}  // namespace tempflow::detail
