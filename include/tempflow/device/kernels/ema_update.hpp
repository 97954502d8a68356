// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// ema_update on a device.

#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/ops/detail/ema_blend.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

/// A warp per tile of the weights.
template <storage_scalar T>
struct ema_update_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 4;

  T* average;
  const T* weights;
  index_t size;
  stream_value<double> decay;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using part = warp_tile<T>;
    const part tile(thread.row(), thread.block() * thread.warps() + thread.warp(), size, thread.lane());
    if (tile.row > 0 || tile.count <= 0) return;
    const ema_blend<compute_t<T>> blend(*decay);
    T* const to = tile.of(average);
    const T* const rows[] = {to, tile.of(weights)};
    dispatch_bool(tile.whole(rows[0], rows[1]), [&](auto whole) {
      tile.template each_read<whole>(thread, rows, [&](int access, const auto& at) {
        compute_t<T> moved[part::width], weight[part::width];
        thread.template load<T>(at[0], moved);
        thread.template load<T>(at[1], weight);
        for (int j = 0; j < part::width; ++j) moved[j] = blend(moved[j], weight[j]);
        tile.template write<whole>(thread, to, access, thread.template store<T>(moved));
      });
    });
  }
};

template <class Device, storage_scalar T>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const ema_update_op<T>& op) {
  const auto size = static_cast<index_t>(op.average.size());
  if (size == 0) return;
  device_call call(arguments, "ema_update");
  call.expects("average", batch_view<T>(op.average.data(), 1, size), "weights",
               batch_view<const T>(op.weights.data(), 1, size));
  call.launch(ema_update_kernel<T>{op.average.data(), op.weights.data(), size, call.on_device(op.decay)},
              tile_shape<T>(1, size));
}

}  // namespace tempflow::detail
