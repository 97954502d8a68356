// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// ema_update on a device.

#include "tempflow/ops/cuda/row_meeting.hpp"
#include "tempflow/training/ema.hpp"

namespace tempflow::detail {

/// A warp a tile of the weights.
template <storage_scalar T>
struct ema_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  T* average;
  const T* weights;
  index_t size;
  double decay;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& here) const {
    using part = warp_tile<T>;
    const part tile(0, here.block() * most_warps + here.warp(), size, here.lane());
    if (tile.first >= size) return;
    const ema_blend<compute_t<T>> blend(decay);
    either(tile.whole(average, weights), [&](auto whole) TEMPFLOW_INLINE_LAMBDA {
      const T* const rows[] = {average, weights};
      tile.template each_access<whole>(here, rows, [&](int access, const auto& at) TEMPFLOW_INLINE_LAMBDA {
        packet<T, part::width> moved;
        for (int j = 0; j < part::width; ++j) {
          moved.value[j] =
              here.template store<T>(blend(here.load(at[0].value[j]), here.load(at[1].value[j])));
        }
        tile.template write<whole>(here, average, access, moved);
      });
    });
  }
};

template <class Device, storage_scalar T>
void run(const device_backend<Device>& place, const ema_block<tiled_arithmetic, T>& op) {
  const auto size = static_cast<index_t>(op.average.size());
  if (size == 0) return;
  device_call call(place, "ema_update");
  call.expects("average", batch_view<T>(op.average.data(), 1, size), "weights",
               batch_view<const T>(op.weights.data(), 1, size));
  call.launch(ema_kernel<T>{op.average.data(), op.weights.data(), size, op.decay},
              tile_shape<T>(1, size, false));
}

}  // namespace tempflow::detail
