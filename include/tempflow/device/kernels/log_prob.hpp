// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// log_prob on a device: a warp a tile.

#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/detail/row_coefficients.hpp"

namespace tempflow::detail {

template <storage_scalar T>
struct log_prob_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  batch_view<const T> x, v, y;
  row_table<transition> steps;
  double* log_probs;
  log_prob_convention convention;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    using part = warp_tile<T>;
    const auto tile = reduction.tile_of<T>(thread, x.columns());
    const index_t i = tile.row;
    if (i >= reduction.rows) return;
    const T *const xi = x.row(i), *const vi = v.row(i), *const yi = y.row(i);
    const row_coefficients<real> step(steps[i]);
    real r[part::of_lane];
    dispatch_bool(tile.whole(xi, vi, yi), [&](auto whole) {
      tile.template each_access<whole>(thread, {xi, vi, yi}, [&](int access, const auto& at) {
        for (int j = 0; j < part::width; ++j) {
          r[access * part::width + j] = step.residual(
              thread.load(at[0].value[j]), thread.load(at[1].value[j]), thread.load(at[2].value[j]));
        }
      });
    });
    reduction.store_partial(thread, i, tile.index, 0, tile.sum_of_squares(thread, r, slab_of<T>(thread)));
    if (!reduction.is_last(thread, i)) return;
    const double squared = reduction.reduce(thread, i, 0);
    if (thread.lane() == 0) log_probs[i] = gaussian_log_prob(squared, steps[i], x.columns(), convention);
  }
};

template <class Device, storage_scalar T>
void run(const device_arguments<Device>& arguments, const log_prob_op<T>& op) {
  const index_t rows = op.x.rows(), elements = op.x.columns();
  if (rows < 1) return;
  device_call call(arguments, "log_prob");
  call.expects("x", op.x, "v", op.v, "y", op.y);
  log_prob_kernel<T> kernel{.x = op.x,
                            .v = op.v,
                            .y = op.y,
                            .steps = op.steps,
                            .log_probs = call.output("log_probs", op.log_probs),
                            .convention = op.convention,
                            .reduction = make_row_reduction<T>(call, rows, elements, 1),
                            .tables = {}};
  call.place(kernel.tables, rows, kernel.steps);
  call.launch(kernel, tile_shape<T>(rows, elements, true));
  call.finish();
}

}  // namespace tempflow::detail
