// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The sums of a general loss on a device, a warp per tile, and what is made of a row's sums: stored, or an objective's
// answer.

#include "tempflow/core/lanes.hpp"
#include "tempflow/device/kernels/mask_counts.hpp"
#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/device/kernels/sibling_tables.hpp"
#include "tempflow/device/row_table.hpp"
#include "tempflow/ops/detail/row_coefficients.hpp"
#include "tempflow/ops/detail/row_operations.hpp"

namespace tempflow::detail {

/// The batches that a general loss reads, those that are not given being v.
template <storage_scalar T, storage_scalar V, bool HasOld>
struct row_batches {
  static constexpr int velocities = HasOld ? 3 : 2;
  static constexpr int width = warp_tile<T>::width;
  using real = compute_t<T>;

  batch_view<const T> x, y;  ///< y: by row, the others by state
  batch_view<const V> v, v_ref, v_old;

  /// Calls body(whole, velocities) with the lane's part of a tile in v, v_ref and v_old. others_whole, others: of
  /// further accesses.
  template <class Body, class... Others>
  TEMPFLOW_INLINE_DEVICE void with_velocities(const warp_tile<T>& tile, index_t state, const Body& body,
                                              bool others_whole, const Others*... others) const {
    const V *const at_v = tile.of(v.row(state)), *const at_ref = tile.of(v_ref.row(state));
    if constexpr (HasOld) {
      const V* const all[] = {at_v, at_ref, tile.of(v_old.row(state))};
      dispatch_bool(others_whole && tile.whole(at_v, at_ref, all[2], others...),
                    [&](auto whole) { body(whole, all); });
    } else {
      const V* const both[] = {at_v, at_ref};
      dispatch_bool(others_whole && tile.whole(at_v, at_ref, others...),
                    [&](auto whole) { body(whole, both); });
    }
  }

  /// An access to the velocities: v, v - v_ref and, where there is one, v - v_old.
  template <class Thread, class Words>
  TEMPFLOW_INLINE_DEVICE static void load(const Thread& thread, const Words& words, real (&at_v)[width],
                                          real (&d)[width], real (&o)[width]) {
    thread.template load<V>(words[0], at_v);
    thread.template load<V>(words[1], d);
    for (int j = 0; j < width; ++j) d[j] = at_v[j] - d[j];
    if constexpr (HasOld) {
      thread.template load<V>(words[2], o);
      for (int j = 0; j < width; ++j) o[j] = at_v[j] - o[j];
    }
  }
};

/// Zeros where a mask leaves elements out.
template <class Bytes, class Real, int Width>
TEMPFLOW_INLINE_DEVICE void leave_out(const Bytes& counts, Real (&numbers)[Width]) {
  for (int j = 0; j < Width; ++j) numbers[j] = select(counts[j], numbers[j], Real{0});
}

/// Keeps the sums of a row.
struct sums_to_memory {
  row_sums* to;
  bool has_reference, has_old, has_mixture;

  TEMPFLOW_DEVICE void operator()(index_t, index_t row, const transition&, const row_sums& sums) const {
    to[row] = without_missing(sums, has_reference, has_old, has_mixture);
  }
};

/// Keeps an objective's answer: the numbers of a row, and its factors.
template <class Objective>
struct sums_to_scores {
  row_constants constants;
  Objective objective;
  row_table<double> old_log_probs, advantages, weights;
  row_factors* factors;
  policy_row* rows;

  TEMPFLOW_DEVICE void operator()(index_t, index_t row, const transition& step, const row_sums& sums) const {
    const scored_row seen =
        view_row(constants, step, old_log_probs[row], advantages[row], weights[row], sums);
    // An objective without TEMPFLOW_HD is an error here, in a function of the device alone.
    const row_loss answer = objective(seen);
    rows[row] = conclude_row(constants, seen, answer, sums, factors[row]);
  }
};

/// Elements: all_elements or masked_elements. To: what is made of the sums.
template <storage_scalar T, storage_scalar V, bool HasOld, class Elements, class To>
struct row_sums_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 2;
  static constexpr int slabs = HasOld ? 3 : 2;
  static constexpr int sums = HasOld ? 7 : 3;

  row_batches<T, V, HasOld> in;
  sibling_states states;
  Elements counted;
  row_table<transition> transitions;
  double mixture;
  To to;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = reduction.tile_of<T>(thread, in.v.columns());
    const index_t i = tile.row;
    if (tile.count > 0) {
      double of_tile[sums];
      add_up(thread, tile, of_tile);
      for (int s = 0; s < sums; ++s) reduction.store_partial(thread, tile, s, of_tile[s]);
    }
    if (!reduction.is_last(thread, tile)) return;
    double of_row[7] = {};
    for (int s = 0; s < sums; ++s) of_row[s] = reduction.reduce(thread, i, s);
    if (thread.lane() != 0) return;
    const index_t state = states[i];
    to(state, i, transitions[state],
       {static_cast<double>(counted.number(state, in.v.columns())), of_row[0], of_row[1], of_row[2],
        of_row[3], of_row[4], of_row[5], of_row[6]});
  }

 private:
  using real = compute_t<T>;
  static constexpr int width = warp_tile<T>::width;

  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void add_up(const Thread& thread, const warp_tile<T>& tile,
                                     double (&of_tile)[sums]) const {
    const index_t state = states[tile.row];
    const transition& of_state = transitions[state];
    const row_coefficients<real> step(of_state);
    const int first = slabs * thread.warp_in_block();
    const warp_slab<T> residuals(thread, first), references(thread, first + 1),
        olds(thread, first + slabs - 1);
    const T* const rows[] = {tile.of(in.x.row(state)), tile.of(in.y.row(tile.row))};
    in.with_velocities(
        tile, state,
        [&](auto whole, const auto& velocities) {
          const auto visit = [&](int access, const auto& at, const auto& of_v, const auto&... counts) {
            real at_x[width], at_v[width], r[width], d[width], o[width];
            thread.template load<T>(at[0], at_x);
            thread.template load<T>(at[1], r);
            in.load(thread, of_v, at_v, d, o);
            for (int j = 0; j < width; ++j) r[j] = step.residual(at_x[j], at_v[j], r[j]);
            (leave_out(counts, r), ...), (leave_out(counts, d), ...);
            if constexpr (HasOld) (leave_out(counts, o), ...);
            residuals.store(thread, access, r);
            references.store(thread, access, d);
            if constexpr (HasOld) olds.store(thread, access, o);
          };
          counted.template each_read<whole>(thread, tile, rows, velocities, state, visit);
          [[maybe_unused]] const auto positive = static_cast<real>(of_state.beta * (1 - mixture));
          [[maybe_unused]] const auto negative = static_cast<real>(of_state.beta * (1 + mixture));
          residuals.template sums_of<whole>(
              thread, tile.count,
              [&](int at, real(&partial)[sums]) {
                const real r = residuals.element(at), d = references.element(at);
                partial[0] = fused_multiply_add(r, r, partial[0]);
                partial[1] = fused_multiply_add(d, d, partial[1]);
                partial[2] = fused_multiply_add(r, d, partial[2]);
                if constexpr (HasOld) {
                  const real o = olds.element(at);
                  partial[3] = fused_multiply_add(o, o, partial[3]);
                  partial[4] = fused_multiply_add(r, o, partial[4]);
                  partial[5] = partial[5] + magnitude(fused_multiply_add(positive, o, r));
                  partial[6] = partial[6] + magnitude(fused_multiply_add(negative, o, r));
                }
              },
              of_tile);
        },
        counted.whole(tile, state), rows[0], rows[1]);
  }
};

}  // namespace tempflow::detail
