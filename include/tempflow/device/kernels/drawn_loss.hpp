// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loss of transitions whose noise is drawn again: all but the KL is known beforehand, so slopes come first, and
// the gradient is written while v and v_ref are summed.

#include <concepts>
#include <cstdint>

#include "tempflow/device/kernels/policy_tile.hpp"
#include "tempflow/device/kernels/sample_tile.hpp"
#include "tempflow/device/kernels/sibling_gradient.hpp"

namespace tempflow::detail {

/// The numbers of each row but for its KL, and its slopes: a thread for each.
template <class Real, class Objective>
struct drawn_rows_kernel {
  static constexpr int max_warps = 8;
  static constexpr int min_blocks = 2;

  index_t count;
  sibling_states states;
  policy_terms<Objective, row_table> terms;
  policy_outcome<Real>* outcomes;
  policy_row* rows;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const index_t row = (thread.block() * max_warps + thread.warp()) * warp_lanes + thread.lane();
    if (row >= count) return;
    const policy_factors factors = terms.factors_of(states[row], row);
    outcomes[row] =
        conclude_row<Real>(terms, factors, terms.score(factors.score, factors.score.old_log_prob, 0, 0),
                           terms.expected_square(states[row]), rows[row]);
  }
};

/// A tile of a state's gradient for each warp, and the KL of the state's rows.
template <storage_scalar V, storage_scalar G, bool HasReference>
struct drawn_gradient_kernel {
  static constexpr int max_warps = tile_warps<V>;
  static constexpr int min_blocks = 3;

  batch_view<const V> v, v_ref;
  noise_table noise;
  sibling_rows of;
  row_table<transition> transitions;
  kl_denominator kl_over;
  const policy_outcome<compute_t<V>>* outcomes;  ///< of each row
  policy_row* rows;
  std::uint32_t* broken;  ///< states whose gradient has to give way to zeros
  batch_view<G> gradient;
  row_reduction reduction;  ///< of states
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = reduction.tile_of<V>(thread, v.columns());
    const index_t state = tile.row;
    if (tile.count > 0) {
      const double squared = write_tile(thread, tile);
      if (HasReference) reduction.store_partial(thread, tile, 0, squared);
    }
    if (!HasReference || !reduction.is_last(thread, tile)) return;
    const double squared = reduction.reduce(thread, state, 0);
    const double kl = gaussian_kl(squared, kl_scale(transitions[state], kl_over), v.columns());
    if (!is_finite(kl)) thread.set(broken + state);
    const index_t last = of.first(state + 1);
    for (index_t row = of.first(state) + thread.lane(); row < last; row += warp_lanes) {
      rows[row].kl = kl;
      if (!is_finite(kl)) mark_overflow(rows[row]);
    }
  }

 private:
  using real = compute_t<V>;
  static constexpr int width = warp_tile<V>::width;

  /// Writes a tile of the gradient, if it is wanted, and returns its sum of (v - v_ref)^2.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE double write_tile(const Thread& thread, const warp_tile<V>& tile) const {
    const finite_rows counted(of, outcomes, tile.row);
    const warp_slab<V> slab(thread, thread.warp_in_block());
    const V *at_v = nullptr, *at_ref = nullptr;
    if constexpr (HasReference) at_v = tile.of(v.row(tile.row)), at_ref = tile.of(v_ref.row(tile.row));
    G* const to = gradient.empty() ? nullptr : tile.of(gradient.row(tile.row));
    bool fit = true;
    double squared = 0;
    dispatch_bool(tile.whole(at_v, at_ref, to), [&](auto whole) {
      for (int access = 0; access * tile.stride < tile.count; ++access) {
        real d[width], g[width] = {};
        if constexpr (HasReference) {
          real ref[width];
          thread.template load<V>(tile.template read<whole>(thread, at_v, access), d);
          thread.template load<V>(tile.template read<whole>(thread, at_ref, access), ref);
          for (int j = 0; j < width; ++j) d[j] = d[j] - ref[j];
          slab.store(thread, access, d);
        }
        if (to != nullptr) {
          add_noise(thread, tile, counted, access, g);
          if (HasReference && counted.count > 0) {
            const real slope = static_cast<real>(counted.count) * outcomes[counted.first].reference_slope;
            for (int j = 0; j < width; ++j) g[j] = policy_gradient_plus(g[j], slope, d[j]);
          }
          if constexpr (std::same_as<G, float16>) fit = fit && fit_fp16(g);
          tile.template write<whole>(thread, to, access, thread.template store<G>(g));
        }
        thread.sync_warp();
      }
      if constexpr (HasReference) squared = slab.template sum_of_squares<whole>(thread, tile.count);
    });
    if constexpr (std::same_as<G, float16>) {
      if (!fit) thread.set(broken + tile.row);
    }
    return squared;
  }

  /// The sum of slope std z over the rows that count.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void add_noise(const Thread&, const warp_tile<V>& tile, const finite_rows& counted,
                                        int access, real (&g)[width]) const {
    if (counted.count == 0) return;
    const noise_key key = *noise.key;
    for (index_t row = counted.first; row < counted.last; ++row) {
      const policy_outcome<real> outcome = outcomes[row];
      if (!outcome.finite) continue;
      const noise_draw draw = noise[row];
      const real std = row_coefficients<real>(transitions[tile.row], draw).std;
      float z[width];
      tile_noise<V>(key, draw.id, tile, noise.first_block).draw(access, z);
      for (int j = 0; j < width; ++j) {
        const real r = drawn_residual(std, real{z[j]});
        g[j] = row == counted.first ? policy_gradient(outcome.slope, r)
                                    : policy_gradient_plus(g[j], outcome.slope, r);
      }
    }
  }
};

}  // namespace tempflow::detail
