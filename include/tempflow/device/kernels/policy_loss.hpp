// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_loss on a device. A row that fits into the shared memory of the blocks of a cluster is read once
// (policy_row.hpp). Others take two passes: sums, then the gradient, from the last tile to the first because
// the last are still in the cache.

#include <type_traits>

#include "tempflow/device/kernels/policy_row.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

/// The first pass: the numbers of each row, and its slopes.
template <storage_scalar T, class Objective, bool HasReference>
struct policy_sums_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = HasReference ? 3 : 4;
  static constexpr int slabs = HasReference ? 2 : 1;

  policy_inputs<T, HasReference> in;
  policy_terms<Objective, row_table> terms;
  policy_outcome<compute_t<T>>* outcomes;
  std::uint32_t* overflows;  ///< flags that the second pass may set, or null
  policy_row* rows;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    const auto tile = reduction.tile_of<T>(thread, in.v.columns());
    const index_t i = tile.row;
    if (tile.count > 0) {
      const policy_slabs<T, HasReference> slab(thread);
      const auto sums = slab.read(thread, tile, in, terms.transitions[i]);
      reduction.store_partial(thread, tile, 0, sums.residual);
      if (HasReference) reduction.store_partial(thread, tile, 1, sums.difference);
    }
    if (!reduction.is_last(thread, tile)) return;
    const double squared = reduction.reduce(thread, i, 0);
    const double difference = HasReference ? reduction.reduce(thread, i, 1) : 0;
    if (thread.lane() != 0) return;
    outcomes[i] = conclude_row<real>(terms, terms.factors_of(i), squared, difference, rows[i]);
    if (overflows != nullptr) overflows[i] = 0;
  }
};

/// The second pass.
template <storage_scalar T, storage_scalar G, bool HasReference>
struct policy_gradient_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = HasReference ? 3 : 4;

  policy_inputs<T, HasReference> in;
  row_table<transition> transitions;
  const policy_outcome<compute_t<T>>* outcomes;
  std::uint32_t* overflows;
  batch_view<G> gradient;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    const index_t block = thread.blocks() - 1 - thread.block(), i = tiles.rows - 1 - thread.row();
    if (i < 0) return;
    const warp_tile<T> tile(i, block * thread.warps() + thread.warp(), in.v.columns(), thread.lane());
    if (tile.count <= 0) return;
    const policy_outcome<real> outcome = outcomes[i];
    G* const to = tile.of(gradient.row(i));
    bool fit = true;
    in.with_rows(
        tile,
        [&](auto whole, const auto& rows) {
          if (!outcome.finite) return write_zeros<whole>(thread, tile, to);
          in.template each_access<whole>(
              thread, tile, rows, transitions[i], [&](int access, const auto& r, const auto& d) {
                real g[warp_tile<T>::width];
                policy_gradients<HasReference>(outcome, r, d, g);
                if constexpr (std::same_as<G, float16>) fit = fit && fit_fp16(g);
                tile.template write<whole>(thread, to, access, thread.template store<G>(g));
              });
        },
        to);
    if constexpr (std::same_as<G, float16>) {
      if (!fit) thread.set(overflows + i);
    }
  }
};

/// Clears and marks rows in which the gradient overflowed.
template <storage_scalar G>
struct clear_rows_kernel {
  static constexpr int most_warps = tile_warps<G>;
  static constexpr int least_blocks = 4;

  const std::uint32_t* overflows;
  policy_row* rows;
  batch_view<G> gradient;
  row_reduction tiles;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = tiles.tile_of<G>(thread, gradient.columns());
    if (tile.count <= 0 || overflows[tile.row] == 0) return;
    write_zeros<false>(thread, tile, tile.of(gradient.row(tile.row)));
    if (tile.index == 0 && thread.lane() == 0) mark_overflow(rows[tile.row]);
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

template <bool HasReference, class Device, storage_scalar T, storage_scalar G, class Objective>
TEMPFLOW_HIDDEN void launch_policy_loss(device_call<Device>& call, const policy_loss_op<T, G, Objective>& op,
                                        policy_row* to) {
  using real = compute_t<T>;
  const index_t rows = op.v.rows(), elements = op.v.columns(),
                tiles = (elements - 1) / warp_tile<T>::size + 1;
  const policy_inputs<T, HasReference> in{op.x, op.y, op.v, op.v_ref};
  if constexpr (std::same_as<real, float>) {
    using kernel_of_row = policy_row_kernel<T, G, Objective, HasReference>;
    kernel_of_row kernel{.in = in,
                         .terms = terms_for_kernel(op.terms),
                         .gradient = op.gradient,
                         .rows = to,
                         .tiles = tiles,
                         .tables = {}};
    const launch_shape shape = policy_row_shape(
        rows, tiles, kernel_of_row::slabs,
        [&](const launch_shape& candidate) { return call.device().largest_cluster(kernel, candidate); });
    if (shape.blocks > 0) {
      place_terms(call, rows, kernel);
      return call.launch(kernel, shape);
    }
  }
  using sums_kernel = policy_sums_kernel<T, Objective, HasReference>;
  std::uint32_t* overflows = nullptr;
  if constexpr (std::same_as<G, float16>) overflows = call.template take<std::uint32_t>(rows);
  sums_kernel sums{.in = in,
                   .terms = terms_for_kernel(op.terms),
                   .outcomes = call.template take<policy_outcome<real>>(rows),
                   .overflows = overflows,
                   .rows = to,
                   .reduction = make_row_reduction<T>(call, rows, elements, sums_kernel::slabs),
                   .tables = {}};
  place_terms(call, rows, sums);
  call.launch(sums, reduction_shape<T>(rows, elements, sums_kernel::slabs));
  if (op.gradient.empty()) return;
  policy_gradient_kernel<T, G, HasReference> write{.in = in,
                                                   .transitions = op.terms.transitions,
                                                   .outcomes = sums.outcomes,
                                                   .overflows = overflows,
                                                   .gradient = op.gradient,
                                                   .tiles = sums.reduction,
                                                   .tables = {}};
  call.place(write.tables, rows, write.transitions);
  call.launch(write, tile_shape<T>(rows, elements));
  if constexpr (std::same_as<G, float16>) {
    call.launch(clear_rows_kernel<G>{overflows, to, op.gradient, sums.reduction},
                tile_shape<G>(rows, elements));
  }
}

template <class Device, storage_scalar T, storage_scalar G, class Objective>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments,
                         const policy_loss_op<T, G, Objective>& op) {
  static_assert(std::is_trivially_copyable_v<Objective>,
                "tempflow: an objective is copied to the device byte by byte: it must be trivially copyable");
  const index_t rows = op.v.rows();
  if (rows < 1) return;
  device_call call(arguments, "policy_loss");
  call.expects("x", op.x, "y", op.y, "v", op.v, "v_ref", op.v_ref, "gradient", op.gradient);
  policy_row* const to = call.output("rows", op.rows);
  if (op.terms.has_reference) {
    launch_policy_loss<true>(call, op, to);
  } else {
    launch_policy_loss<false>(call, op, to);
  }
  call.finish();
}

}  // namespace tempflow::detail
