// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// log_prob on a device: a warp per tile.

#include <cstdint>
#include <span>
#include <utility>

#include "tempflow/core/lanes.hpp"
#include "tempflow/device/kernels/mask_counts.hpp"
#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/device/kernels/sibling_tables.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/detail/row_coefficients.hpp"

namespace tempflow::detail {

/// States: own_states or sibling_states. Elements: all_elements or masked_elements.
template <storage_scalar T, storage_scalar V, class States, class Elements>
struct log_prob_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = Elements::masked ? 3 : 4;  // the mask takes registers

  batch_view<const T> x, y;
  batch_view<const V> v;
  States states;
  Elements counted;
  row_table<transition> steps;
  double* log_probs;
  log_prob_convention convention;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = reduction.tile_of<T>(thread, x.columns());
    const index_t i = tile.row;
    if (tile.count > 0) reduction.store_partial(thread, tile, 0, squared_residual(thread, tile));
    if (!reduction.is_last(thread, tile)) return;
    const double squared = reduction.reduce(thread, i, 0);
    if (thread.lane() != 0) return;
    const index_t state = states[i];
    log_probs[i] = gaussian_log_prob(squared, steps[state], counted.number(state, x.columns()), convention);
  }

 private:
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE double squared_residual(const Thread& thread, const warp_tile<T>& tile) const {
    constexpr int width = warp_tile<T>::width;
    const index_t state = states[tile.row];
    const row_coefficients<compute_t<T>> step(steps[state]);
    const warp_slab<T> slab(thread, thread.warp_in_block());
    const T* const states_of_lane[] = {tile.of(x.row(state)), tile.of(y.row(tile.row))};
    const V* const velocity[] = {tile.of(v.row(state))};
    const std::uint8_t* mask = nullptr;
    bool is_whole = tile.whole(states_of_lane[0], states_of_lane[1], velocity[0]);
    if constexpr (Elements::masked) {
      mask = tile.of(counted.mask.row(state));
      is_whole = is_whole && tile.whole_mask(mask);
    }
    double squared = 0;
    dispatch_bool(is_whole, [&](auto whole) {
      const auto visit = [&](int access, const auto& at, const auto& of_v, const auto&... counts) {
        compute_t<T> at_x[width], at_v[width], r[width];
        thread.template load<T>(at[0], at_x);
        thread.template load<T>(at[1], r);
        thread.template load<V>(of_v[0], at_v);
        for (int j = 0; j < width; ++j) r[j] = step.residual(at_x[j], at_v[j], r[j]);
        for (int j = 0; j < width; ++j) ((r[j] = select(counts[j], r[j], compute_t<T>{0})), ...);
        slab.store(thread, access, r);
      };
      if constexpr (Elements::masked) {
        tile.template each_read<whole>(thread, states_of_lane, velocity, mask, visit);
      } else {
        tile.template each_read<whole>(thread, states_of_lane, velocity, visit);
      }
      squared = slab.template sum_of_squares<whole>(thread, tile.count);
    });
    return squared;
  }
};

template <class Device, storage_scalar T, storage_scalar V, class States, class Elements>
TEMPFLOW_HIDDEN void launch_log_prob(device_call<Device>& call, const log_prob_op<T, V>& op, States&& states,
                                     const Elements& counted) {
  const index_t rows = op.of.rows(), elements = op.x.columns();
  log_prob_kernel<T, V, States, Elements> kernel{.x = op.x,
                                                 .y = op.y,
                                                 .v = op.v,
                                                 .states = std::move(states),
                                                 .counted = counted,
                                                 .steps = op.steps,
                                                 .log_probs = call.output("log_probs", op.log_probs),
                                                 .convention = op.convention,
                                                 .reduction = make_row_reduction<T>(call, rows, elements, 1),
                                                 .tables = {}};
  place_with_states(call, kernel, kernel.steps);
  call.launch(kernel, reduction_shape<T>(rows, elements));
  call.finish();
}

/// Without a mask, or with one whose elements are counted first.
template <class Device, storage_scalar T, storage_scalar V, class States>
TEMPFLOW_HIDDEN void launch_log_prob(device_call<Device>& call, const log_prob_op<T, V>& op,
                                     States&& states) {
  if (!op.mask.given()) return launch_log_prob(call, op, std::move(states), all_elements{});
  launch_log_prob(call, op, std::move(states), count_elements(call, op.mask));
}

template <class Device, storage_scalar T, storage_scalar V>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const log_prob_op<T, V>& op) {
  if (op.of.rows() < 1) return;
  device_call call(arguments, "log_prob");
  call.expects("x", op.x, "v", op.v, "y", op.y);
  if (op.of.one_each()) return launch_log_prob(call, op, own_states{});
  const sibling_tables tables(op.of);
  launch_log_prob(call, op, sibling_states{std::span(tables.states)});
}

}  // namespace tempflow::detail
