// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_loss on a device. A row that fits into the registers of the blocks of a cluster is read once
// (ops/cuda/policy_row_kernel.hpp). Others take two passes: sums, then the gradient, from the last tile to the
// first because the last are still in the cache.

#include "tempflow/device/kernels/policy_row.hpp"
#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

/// The first pass: the numbers of each row, and its slopes.
template <storage_scalar T, class Objective>
struct policy_sums_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  policy_inputs<T> in;
  policy_terms<Objective, row_table> terms;
  policy_outcome<compute_t<T>>* outcomes;
  policy_row* rows;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    const auto tile = reduction.tile_of<T>(thread, in.v.columns());
    const index_t i = tile.row;
    if (i >= reduction.rows) return;
    real r[warp_tile<T>::of_lane], d[warp_tile<T>::of_lane];
    in.read(thread, tile, terms.transitions[i], r, d);
    real* const slab = slab_of<T>(thread);
    reduction.store_partial(thread, i, tile.index, 0, tile.sum_of_squares(thread, r, slab));
    if (terms.has_reference)
      reduction.store_partial(thread, i, tile.index, 1, tile.sum_of_squares(thread, d, slab));
    if (!reduction.is_last(thread, i)) return;
    const double squared = reduction.reduce(thread, i, 0);
    const double difference = terms.has_reference ? reduction.reduce(thread, i, 1) : 0;
    if (thread.lane() == 0) outcomes[i] = conclude_row<real>(terms, i, squared, difference, rows[i]);
  }
};

/// The second pass.
template <storage_scalar T, storage_scalar G>
struct policy_gradient_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  policy_inputs<T> in;
  row_table<transition> transitions;
  bool has_reference;
  const policy_outcome<compute_t<T>>* outcomes;
  policy_row* rows;
  batch_view<G> gradient;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const index_t item = thread.block() * tile_warps<T> + thread.warp(),
                  items = reduction.rows * reduction.tiles;
    if (item >= items) return;
    const index_t from_end = items - 1 - item;
    const warp_tile<T> tile(from_end / reduction.tiles, from_end % reduction.tiles, in.v.columns(),
                            thread.lane());
    const index_t i = tile.row;
    const policy_outcome<compute_t<T>> outcome = outcomes[i];
    G* const to = gradient.row(i);
    bool fit = true;
    in.each_access(
        thread, tile, transitions[i], to, [&](auto whole, auto access, const auto& r, const auto& d) {
          const auto out = policy_gradient_of<G, warp_tile<T>::width>(thread, outcome, has_reference, r, d);
          if constexpr (std::same_as<G, float16>) fit = fit && fits(thread, out);
          tile.template write<whole>(thread, to, access, out);
        });
    if constexpr (std::same_as<G, float16>) {  // several warps of a row may mark it, all in the same way
      if (!thread.all(fit)) mark_overflow(rows[i]);
    }
  }
};

/// Clears the gradient of rows in which it overflowed.
template <storage_scalar G>
struct clear_rows_kernel {
  static constexpr int most_warps = tile_warps<G>;
  static constexpr int least_blocks = 2;

  const policy_row* rows;
  batch_view<G> gradient;
  row_reduction reduction;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = reduction.tile_of<G>(thread, gradient.columns());
    if (tile.row >= reduction.rows || rows[tile.row].finite) return;
    for (int e = thread.lane(); e < tile.count; e += warp_lanes) gradient.row(tile.row)[tile.first + e] = G{};
  }
};

/// The terms of a kernel, yet to be placed.
template <class Objective>
policy_terms<Objective, row_table> terms_for_kernel(const policy_terms<Objective>& terms) {
  return {.transitions = terms.transitions,
          .old_log_probs = terms.old_log_probs,
          .advantages = terms.advantages,
          .weights = terms.weights,
          .convention = terms.convention,
          .objective = terms.objective,
          .elements = terms.elements,
          .gradient_factor = terms.gradient_factor,
          .has_reference = terms.has_reference};
}

/// Brings the terms of a kernel to the device.
template <class Device, class Kernel>
void place_terms(device_call<Device>& call, index_t rows, Kernel& kernel) {
  auto& terms = kernel.terms;
  call.place(kernel.tables, rows, terms.transitions, terms.old_log_probs, terms.advantages, terms.weights);
}

template <class Device, storage_scalar T, storage_scalar G, class Objective>
void run(const device_arguments<Device>& arguments, const policy_loss_op<T, G, Objective>& op) {
  static_assert(std::is_trivially_copyable_v<Objective>,
                "tempflow: an objective is copied to the device byte by byte: it must be trivially copyable");
  using real = compute_t<T>;
  const index_t rows = op.v.rows(), elements = op.v.columns(),
                tiles = (elements - 1) / warp_tile<T>::size + 1;
  const batch_view<G> gradient = op.gradient;
  if (rows < 1) return;
  device_call call(arguments, "policy_loss");
  call.expects("x", op.x, "y", op.y, "v", op.v, "v_ref", op.v_ref, "gradient", gradient);
  policy_row* const to = call.output("rows", op.rows);
  const policy_inputs<T> in{op.x, op.y, op.v, op.v_ref};
  if constexpr (std::same_as<real, float>) {
    policy_row_kernel<T, G, Objective> kernel{.in = in,
                                              .terms = terms_for_kernel(op.terms),
                                              .gradient = gradient,
                                              .rows = to,
                                              .tiles = tiles,
                                              .tables = {}};
    const launch_shape shape = policy_row_shape(rows, tiles, [&](const launch_shape& candidate) {
      return call.device().largest_cluster(kernel, candidate);
    });
    if (shape.blocks > 0) {
      place_terms(call, rows, kernel);
      call.launch(kernel, shape);
      return call.finish();
    }
  }
  policy_sums_kernel<T, Objective> sums{.in = in,
                                        .terms = terms_for_kernel(op.terms),
                                        .outcomes = call.template take<policy_outcome<real>>(rows),
                                        .rows = to,
                                        .reduction = make_row_reduction<T>(call, rows, elements, 2),
                                        .tables = {}};
  place_terms(call, rows, sums);
  call.launch(sums, tile_shape<T>(rows, elements, true));
  if (!gradient.empty()) {
    policy_gradient_kernel<T, G> write{.in = in,
                                       .transitions = op.terms.transitions,
                                       .has_reference = op.terms.has_reference,
                                       .outcomes = sums.outcomes,
                                       .rows = to,
                                       .gradient = gradient,
                                       .reduction = sums.reduction,
                                       .tables = {}};
    call.place(write.tables, rows, write.transitions);
    call.launch(write, tile_shape<T>(rows, elements, false));
    if constexpr (std::same_as<G, float16>) {
      call.launch(clear_rows_kernel<G>{to, gradient, sums.reduction}, tile_shape<G>(rows, elements, false));
    }
  }
  call.finish();
}

}  // namespace tempflow::detail
