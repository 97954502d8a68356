// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loss in two passes: sums, then the gradient, from the last tile to the first because the last are still in
// the cache.

#include <concepts>
#include <cstdint>

#include "tempflow/device/kernels/policy_tile.hpp"
#include "tempflow/device/kernels/sibling_tables.hpp"

namespace tempflow::detail {

/// The first pass: the numbers of each row, and its slopes. States: own_states or sibling_states.
template <storage_scalar T, storage_scalar V, class Objective, bool HasReference, class States>
struct policy_sums_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = HasReference ? 3 : 4;
  static constexpr int slabs = HasReference ? 2 : 1;

  policy_inputs<T, V, HasReference> in;
  States states;
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
      const index_t state = states[i];
      const policy_slabs<T, V, HasReference> slab(thread);
      const auto sums = slab.read(thread, tile, in, state, terms.transitions[state]);
      reduction.store_partial(thread, tile, 0, sums.residual);
      if (HasReference) reduction.store_partial(thread, tile, 1, sums.difference);
    }
    if (!reduction.is_last(thread, tile)) return;
    const double squared = reduction.reduce(thread, i, 0);
    const double difference = HasReference ? reduction.reduce(thread, i, 1) : 0;
    if (thread.lane() != 0) return;
    outcomes[i] = conclude_row<real>(terms, terms.factors_of(states[i], i), squared, difference, rows[i]);
    if (overflows != nullptr) overflows[i] = 0;
  }
};

/// The second pass, of rows that leave a state each.
template <storage_scalar T, storage_scalar V, storage_scalar G, bool HasReference>
struct policy_gradient_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = HasReference ? 3 : 4;

  policy_inputs<T, V, HasReference> in;
  row_table<transition> transitions;
  const policy_outcome<compute_t<T>>* outcomes;
  std::uint32_t* overflows;
  batch_view<G> gradient;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    const auto tile = tiles.tile_from_end<T>(thread, in.v.columns());
    const index_t i = tile.row;
    if (tile.count <= 0) return;
    const policy_outcome<real> outcome = outcomes[i];
    G* const to = tile.of(gradient.row(i));
    bool fit = true;
    in.with_rows(
        tile, i,
        [&](auto whole, const auto& of_states, const auto& of_velocities) {
          if (!outcome.finite) return write_zeros<whole>(thread, tile, to);
          in.template each_access<whole>(thread, tile, of_states, of_velocities, transitions[i],
                                         [&](int access, const auto& r, const auto& d) {
                                           real g[warp_tile<T>::width];
                                           policy_gradients<HasReference>(outcome, r, d, g);
                                           if constexpr (std::same_as<G, float16>) fit = fit && fit_fp16(g);
                                           tile.template write<whole>(thread, to, access,
                                                                      thread.template store<G>(g));
                                         });
        },
        to);
    if constexpr (std::same_as<G, float16>) {
      if (!fit) thread.set(overflows + i);
    }
  }
};

/// Clears the gradients of states in which it overflowed, and marks their rows. Rows: own_rows or sibling_rows.
template <storage_scalar G, class Rows>
struct clear_rows_kernel {
  static constexpr int max_warps = tile_warps<G>;
  static constexpr int min_blocks = 4;

  const std::uint32_t* overflows;
  Rows of;
  policy_row* rows;
  batch_view<G> gradient;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = tiles.tile_of<G>(thread, gradient.columns());
    if (tile.count <= 0 || overflows[tile.row] == 0) return;
    write_zeros<false>(thread, tile, tile.of(gradient.row(tile.row)));
    if (tile.index > 0) return;
    const index_t last = of.first(tile.row + 1);
    for (index_t row = of.first(tile.row) + thread.lane(); row < last; row += warp_lanes)
      mark_overflow(rows[row]);
  }
};

}  // namespace tempflow::detail
