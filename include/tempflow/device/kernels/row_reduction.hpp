// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where the warps of a row meet: each stores the sums of its tile, each block arrives once at the row's
// counter, and the last one adds them up. The order of the sum is the tiles', not that of arrival, so the
// bits are the same on each run.

#include <cstdint>

#include "tempflow/device/device_call.hpp"
#include "tempflow/device/kernels/slab.hpp"

namespace tempflow::detail {

/// The sum of a row's tiles, in all lanes of a warp: tile t in lane t mod 32, then folded. at(t): a tile's
/// sum.
template <class Thread, class At>
TEMPFLOW_INLINE_DEVICE double sum_of_tiles(const Thread& thread, index_t tiles, const At& at) {
  double partial = 0;
  for (index_t t = thread.lane(); t < tiles; t += warp_lanes) partial += at(t);
  return fold(thread, partial);
}

/// Room for the sums of all tiles.
struct row_reduction {
  index_t rows;
  index_t tiles;           ///< of a row
  index_t width;           ///< sums of a tile
  double* sums;            ///< rows x width x tiles
  std::uint32_t* arrived;  ///< rows; 0 before and after

  /// The calling warp's tile; an empty one for warps beyond the row or the rows.
  template <storage_scalar T, class Thread>
  TEMPFLOW_INLINE_DEVICE warp_tile<T> tile_of(const Thread& thread, index_t elements) const {
    warp_tile<T> tile(thread.row(), thread.block() * thread.warps() + thread.warp(), elements, thread.lane());
    if (tile.row >= rows) tile.count = 0;
    return tile;
  }

  /// As tile_of, from the last tile of the last row to the first.
  template <storage_scalar T, class Thread>
  TEMPFLOW_INLINE_DEVICE warp_tile<T> tile_from_end(const Thread& thread, index_t elements) const {
    const index_t block = thread.blocks() - 1 - thread.block(), row = rows - 1 - thread.row();
    warp_tile<T> tile(row, block * thread.warps() + thread.warp(), elements, thread.lane());
    if (row < 0) tile.count = 0;
    return tile;
  }

  template <class Thread, storage_scalar T>
  TEMPFLOW_INLINE_DEVICE void store_partial(const Thread& thread, const warp_tile<T>& tile, index_t which,
                                            double sum) const {
    if (thread.lane() == 0) sums[(tile.row * width + which) * tiles + tile.index] = sum;
  }

  /// True in one warp of the row, once all have stored their sums. For all warps of a block to call.
  template <class Thread, storage_scalar T>
  TEMPFLOW_INLINE_DEVICE bool is_last(const Thread& thread, const warp_tile<T>& tile) const {
    thread.sync_block();
    if (thread.warp() != 0 || tile.row >= rows) return false;
    return thread.blocks() == 1 ||
           thread.is_last_to_arrive(arrived + tile.row, static_cast<std::uint32_t>(thread.blocks()));
  }

  /// A sum of the row, in all lanes.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE double reduce(const Thread& thread, index_t row, index_t which) const {
    const double* const of_row = sums + (row * width + which) * tiles;
    return sum_of_tiles(thread, tiles, [=](index_t t) { return of_row[t]; });
  }
};

/// A reduction for rows of T, in the workspace.
template <storage_scalar T, class Device>
row_reduction make_row_reduction(device_call<Device>& call, index_t rows, index_t elements, index_t width) {
  const index_t tiles = (elements - 1) / warp_tile<T>::size + 1;
  return {rows, tiles, width, call.template take<double>(rows * width * tiles), call.counters(rows)};
}

/// Tiles without sums need no room for them.
template <storage_scalar T>
row_reduction no_row_reduction(index_t rows, index_t elements) {
  return {rows, (elements - 1) / warp_tile<T>::size + 1, 0, nullptr, nullptr};
}

/// As tile_shape, with slabs for each warp.
template <storage_scalar T>
launch_shape reduction_shape(index_t rows, index_t elements, int slabs = 1) {
  launch_shape shape = tile_shape<T>(rows, elements);
  shape.shared_bytes = shape.warps * shape.warp_rows * slabs * warp_slab<T>::bytes;
  return shape;
}

}  // namespace tempflow::detail
