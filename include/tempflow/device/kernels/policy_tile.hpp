// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a warp does with a tile for the loss: reads it, keeps r and v - v_ref in slabs, sums their squares,
// and turns them into the gradient. And what a row comes to.

#include <cmath>

#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/device/row_table.hpp"
#include "tempflow/ops/detail/policy_terms.hpp"
#include "tempflow/ops/detail/row_coefficients.hpp"

namespace tempflow::detail {

/// What the elements of a row come to: its slopes, or zeros.
template <class Real>
struct policy_outcome {
  Real slope;
  Real reference_slope;
  bool finite;
};

/// The numbers of a row that was scored.
template <class Real, class Objective>
TEMPFLOW_DEVICE policy_outcome<Real> conclude_row(const policy_terms<Objective, row_table>& terms,
                                                  const policy_factors& factors, policy_row row,
                                                  double squared_residual, policy_row& to) {
  // An objective without TEMPFLOW_HD is an error here, in a function of the device alone; anywhere else it
  // would be a warning, and a kernel without the objective in it.
  const surrogate answer = terms.objective(row.log_ratio, factors.advantage, factors.weight);
  policy_outcome<Real> outcome;
  outcome.slope = static_cast<Real>(terms.slope_of(factors.slope, answer));
  outcome.reference_slope = static_cast<Real>(factors.reference_slope);
  terms.conclude(answer, outcome.slope, outcome.reference_slope, squared_residual, row);
  outcome.finite = row.finite != 0;
  if (!outcome.finite) row.surrogate = not_a_number;
  to = row;
  return outcome;
}

/// The numbers of a row, from its sums.
template <class Real, class Objective>
TEMPFLOW_DEVICE policy_outcome<Real> conclude_row(const policy_terms<Objective, row_table>& terms,
                                                  const policy_factors& factors, double squared_residual,
                                                  double squared_difference, policy_row& to) {
  return conclude_row<Real>(terms, factors,
                            terms.score(factors.score, factors.score.density.log_prob(squared_residual),
                                        squared_residual, squared_difference),
                            squared_residual, to);
}

/// Marks a row whose gradient overflows its type: a loss scale that is too large for fp16.
TEMPFLOW_DEVICE inline void mark_overflow(policy_row& row) {
  row.finite = 0;
  row.surrogate = not_a_number;
}

/// dL/dv of neighbouring elements.
template <bool HasReference, class Real, int Width>
TEMPFLOW_INLINE_DEVICE void policy_gradients(const policy_outcome<Real>& outcome, const Real (&r)[Width],
                                             const Real (&d)[Width], Real (&gradient)[Width]) {
  for (int j = 0; j < Width; ++j) {
    gradient[j] = HasReference ? policy_gradient(outcome.slope, r[j], outcome.reference_slope, d[j])
                               : policy_gradient(outcome.slope, r[j]);
  }
}

/// Whether numbers are finite in fp16; the other types overflow where fp32 does.
template <class Real, int Width>
TEMPFLOW_INLINE_DEVICE bool fit_fp16(const Real (&numbers)[Width]) {
  bool fit = true;
  for (const Real number : numbers) fit = std::fabs(number) < Real{65520} && fit;  // what rounds to 65504
  return fit;
}

/// Zeros in a lane's part of a tile of T.
template <bool Whole, class Thread, storage_scalar T, storage_scalar G>
TEMPFLOW_INLINE_DEVICE void write_zeros(const Thread& thread, const warp_tile<T>& tile, G* of_lane) {
  tile.template each_access<Whole>(
      thread, [&](int access) { tile.template write<Whole>(thread, of_lane, access, {}); });
}

/// The batches that the loss reads.
template <storage_scalar T, storage_scalar V, bool HasReference>
struct policy_inputs {
  static constexpr int velocities = HasReference ? 2 : 1;

  batch_view<const T> x, y;  ///< y: by row, the others by state
  batch_view<const V> v, v_ref;

  /// Calls body(whole, states, velocities) with the lane's part of a row's tile in each batch. state: that it leaves. others:
  /// further accesses.
  template <class Body, class... Others>
  TEMPFLOW_INLINE_DEVICE void with_rows(const warp_tile<T>& tile, index_t state, const Body& body,
                                        const Others*... others) const {
    const T* const states[] = {tile.of(x.row(state)), tile.of(y.row(tile.row))};
    const V* const vi = tile.of(v.row(state));
    if constexpr (HasReference) {
      const V* const both[] = {vi, tile.of(v_ref.row(state))};
      dispatch_bool(tile.whole(states[0], states[1], vi, both[1], others...),
                    [&](auto whole) { body(whole, states, both); });
    } else {
      const V* const one[] = {vi};
      dispatch_bool(tile.whole(states[0], states[1], vi, others...),
                    [&](auto whole) { body(whole, states, one); });
    }
  }

  /// Calls visit(access, r, d) for each access to a tile, with r = y - alpha x - beta v and d = v - v_ref of
  /// its elements; d only with a reference.
  template <bool Whole, class Thread, class Visit>
  TEMPFLOW_INLINE_DEVICE void each_access(const Thread& thread, const warp_tile<T>& tile,
                                          const T* const (&of_states)[2],
                                          const V* const (&of_velocities)[velocities],
                                          const transition& of_row, const Visit& visit) const {
    using real = compute_t<T>;
    constexpr int width = warp_tile<T>::width;
    const row_coefficients<real> step(of_row);
    const auto visit_words = [&](int access, const auto& at, const auto& of_v) {
      real at_x[width], at_v[width], r[width], d[width] = {};
      thread.template load<T>(at[0], at_x);
      thread.template load<T>(at[1], r);
      thread.template load<V>(of_v[0], at_v);
      for (int j = 0; j < width; ++j) r[j] = step.residual(at_x[j], at_v[j], r[j]);
      if constexpr (HasReference) {
        thread.template load<V>(of_v[1], d);
        for (int j = 0; j < width; ++j) d[j] = at_v[j] - d[j];
      }
      visit(access, r, d);
    };
    tile.template each_read<Whole>(thread, of_states, of_velocities, visit_words);
  }

  /// Has a tile on its way to the cache before the warp reads it, and takes no registers for it.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void prefetch(const Thread& thread, const warp_tile<T>& tile) const {
    with_rows(tile, tile.row, [&](auto whole, const auto& of_states, const auto& of_velocities) {
      if constexpr (decltype(whole)::value) {
        const auto all = [&](const auto* row) {
          static_for<warp_tile<T>::accesses>(
              [&]<int Access>() { thread.prefetch(row + Access * warp_tile<T>::stride); });
        };
        for (const T* const row : of_states) all(row);
        for (const V* const row : of_velocities) all(row);
      }
    });
  }
};

/// r and v - v_ref of a warp's tile.
template <storage_scalar T, storage_scalar V, bool HasReference>
class policy_slabs {
  using real = compute_t<T>;
  using tile_type = warp_tile<T>;
  static constexpr int width = tile_type::width, slabs = HasReference ? 2 : 1;

 public:
  struct sums {
    double residual, difference;
  };

  template <class Thread>
  TEMPFLOW_INLINE_DEVICE explicit policy_slabs(const Thread& thread)
      : residual_(thread, slabs * thread.warp_in_block()),
        difference_(thread, slabs * thread.warp_in_block() + slabs - 1) {}

  /// Reads a tile of a row that leaves a state, and returns its sums of squares.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE sums read(const Thread& thread, const tile_type& tile,
                                   const policy_inputs<T, V, HasReference>& in, index_t state,
                                   const transition& step) const {
    sums of_tile{};
    in.with_rows(tile, state, [&](auto whole, const auto& of_states, const auto& of_velocities) {
      in.template each_access<whole>(thread, tile, of_states, of_velocities, step,
                                     [&](int access, const auto& r, const auto& d) {
                                       residual_.store(thread, access, r);
                                       if constexpr (HasReference) difference_.store(thread, access, d);
                                     });
      of_tile.residual = residual_.template sum_of_squares<whole>(thread, tile.count);
      if constexpr (HasReference) {
        of_tile.difference = difference_.template sum_of_squares<whole>(thread, tile.count);
      }
    });
    return of_tile;
  }

  /// Whether the gradient is finite in fp16.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE bool fits(const Thread& thread, const tile_type& tile,
                                   const policy_outcome<real>& outcome) const {
    bool fit = true;
    dispatch_bool(tile.whole(), [&](auto whole) {
      tile.template each_access<whole>(thread, [&](int access) {
        real g[width];
        gradient(thread, access, outcome, g);
        fit = fit && fit_fp16(g);
      });
    });
    return fit;
  }

  /// Writes the gradient, or zeros.
  template <class Thread, storage_scalar G>
  TEMPFLOW_INLINE_DEVICE void write(const Thread& thread, const tile_type& tile,
                                    const policy_outcome<real>& outcome, G* row) const {
    G* const to = tile.of(row);
    dispatch_bool(tile.whole(to), [&](auto whole) {
      if (outcome.finite) {
        tile.template each_access<whole>(thread, [&](int access) {
          real g[width];
          gradient(thread, access, outcome, g);
          tile.template write<whole>(thread, to, access, thread.template store<G>(g));
        });
      } else {
        write_zeros<whole>(thread, tile, to);
      }
    });
  }

 private:
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void gradient(const Thread& thread, int access, const policy_outcome<real>& outcome,
                                       real (&g)[width]) const {
    real r[width], d[width] = {};
    residual_.load(thread, access, r);
    if constexpr (HasReference) difference_.load(thread, access, d);
    policy_gradients<HasReference>(outcome, r, d, g);
  }

  warp_slab<T> residual_, difference_;
};

}  // namespace tempflow::detail
