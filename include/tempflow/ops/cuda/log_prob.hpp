// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// log_prob on a device: a warp a tile.

#include "tempflow/ops/cuda/row_meeting.hpp"
#include "tempflow/ops/log_prob.hpp"

namespace tempflow::detail {

template <storage_scalar T>
struct log_prob_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  batch_view<const T> x, v, y;
  per_row<transition> steps;
  double* log_probs;
  log_prob_convention convention;
  row_meeting meeting;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& here) const {
    using real = compute_t<T>;
    using part = warp_tile<T>;
    const auto tile = meeting.tile_of<T>(here, x.columns());
    const index_t i = tile.row;
    if (i >= meeting.rows) return;
    const T *const xi = x.row(i), *const vi = v.row(i), *const yi = y.row(i);
    const row_coefficients<real> step(steps[i]);
    real r[part::of_lane];
    either(tile.whole(xi, vi, yi), [&](auto whole) TEMPFLOW_INLINE_LAMBDA {
      tile.template each_access<whole>(
          here, {xi, vi, yi}, [&](int access, const auto& at) TEMPFLOW_INLINE_LAMBDA {
            for (int j = 0; j < part::width; ++j) {
              r[access * part::width + j] = step.residual(
                  here.load(at[0].value[j]), here.load(at[1].value[j]), here.load(at[2].value[j]));
            }
          });
    });
    meeting.leave(here, i, tile.index, 0, tile.sum_of_squares(here, r, slab_of<T>(here)));
    if (!meeting.complete(here, i)) return;
    const double squared = meeting.total(here, i, 0);
    if (here.lane() == 0) log_probs[i] = gaussian_log_prob(squared, steps[i], x.columns(), convention);
  }
};

template <class Device, storage_scalar T>
void run_rows(const device_backend<Device>& place, index_t rows,
              const log_prob_row<tiled_arithmetic, T>& op) {
  if (rows < 1) return;
  device_call call(place, "log_prob");
  call.expects("x", op.x, "v", op.v, "y", op.y);
  double* const log_probs = call.output("log_probs", op.log_probs);
  call.launch(log_prob_kernel<T>{op.x, op.v, op.y, call.on_device(op.steps), log_probs, op.convention,
                                 make_meeting<T>(call, rows, op.elements(), 1)},
              tile_shape<T>(rows, op.elements(), true));
  call.finish();
}

}  // namespace tempflow::detail
