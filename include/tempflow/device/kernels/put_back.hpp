// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// put_back on a device: a warp per tile, a lane for every 32nd element of it, whatever the rows' boundaries.

#include <cstdint>

#include "tempflow/core/element_mask.hpp"
#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

template <storage_scalar T>
struct put_back_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 4;

  batch_view<const T> x;
  element_mask mask;
  batch_view<T> y;
  index_t per_state;
  row_reduction tiles;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = tiles.tile_of<T>(thread, y.columns());
    if (tile.count <= 0) return;
    const index_t state = tile.row / per_state, first = tile.index * tile.size;
    const T* const from = x.row(state) + first;
    const std::uint8_t* const counts = mask.row(state) + first;
    T* const to = y.row(tile.row) + first;
    for (int e = thread.lane(); e < tile.count; e += warp_lanes) {
      if (counts[e] == 0) to[e] = from[e];
    }
  }
};

template <class Device, storage_scalar T>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const put_back_op<T>& op) {
  device_call call(arguments, "put_back");
  call.expects("x", op.x, "y", op.y);
  const index_t rows = op.y.rows(), elements = op.y.columns();
  const put_back_kernel<T> kernel{.x = op.x,
                                  .mask = op.mask,
                                  .y = op.y,
                                  .per_state = op.per_state(),
                                  .tiles = no_row_reduction<T>(rows, elements)};
  call.launch(kernel, tile_shape<T>(rows, elements));
}

}  // namespace tempflow::detail
