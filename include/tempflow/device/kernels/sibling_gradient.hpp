// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The second pass of the loss for states that any number of rows leave: x, v and v_ref are read once for each of
// their elements, and the sum over the rows is in registers when it is written.

#include <concepts>
#include <cstdint>

#include "tempflow/device/kernels/policy_tile.hpp"
#include "tempflow/device/kernels/sibling_tables.hpp"

namespace tempflow::detail {

/// The rows of a state that count.
struct finite_rows {
  index_t first, last;  ///< from the first that counts on
  index_t count = 0;

  template <class Real>
  TEMPFLOW_INLINE_DEVICE finite_rows(const sibling_rows& of, const policy_outcome<Real>* outcomes,
                                     index_t state)
      : first(of.first(state)), last(of.first(state + 1)) {
    for (index_t row = last - 1, all = first; row >= all; --row) {
      if (!outcomes[row].finite) continue;
      first = row;
      ++count;
    }
  }
};

/// A tile of a state's gradient for each warp.
template <storage_scalar T, storage_scalar V, storage_scalar G, bool HasReference>
struct sibling_gradient_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = HasReference && sizeof(T) == 2 ? 2 : 3;

  policy_inputs<T, V, HasReference> in;
  sibling_rows of;
  row_table<transition> transitions;
  const policy_outcome<compute_t<T>>* outcomes;  ///< of each row
  std::uint32_t* overflows;
  batch_view<G> gradient;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = tiles.tile_from_end<T>(thread, in.v.columns());
    if (tile.count <= 0) return;
    const index_t state = tile.row;
    const finite_rows rows(of, outcomes, state);
    const T *const x = tile.of(in.x.row(state)), *const y = tile.of(in.y.data());
    const V *const v = tile.of(in.v.row(state)), *const v_ref =
                                                     HasReference ? tile.of(in.v_ref.row(state)) : v;
    G* const to = tile.of(gradient.row(state));
    bool fit = true;
    dispatch_bool(tile.whole(x, v, v_ref, y, y + in.y.row_stride(), to), [&](auto whole) {
      if (rows.count == 0) return write_zeros<whole>(thread, tile, to);
      const auto write = [&](int access, const real(&g)[width]) {
        if constexpr (std::same_as<G, float16>) fit = fit && fit_fp16(g);
        tile.template write<whole>(thread, to, access, thread.template store<G>(g));
      };
      if constexpr (HasReference) {
        each_sum<whole>(thread, tile, rows, {x}, {v, v_ref}, write);
      } else {
        each_sum<whole>(thread, tile, rows, {x}, {v}, write);
      }
    });
    if constexpr (std::same_as<G, float16>) {
      if (!fit) thread.set(overflows + state);
    }
  }

 private:
  using real = compute_t<T>;
  static constexpr int width = warp_tile<T>::width;

  /// Calls write(access, g) with the elements of the gradient of each access to a tile. velocities: v and v_ref.
  template <bool Whole, class Thread, int Velocities, class Write>
  TEMPFLOW_INLINE_DEVICE void each_sum(const Thread& thread, const warp_tile<T>& tile,
                                       const finite_rows& rows, const T* const (&x)[1],
                                       const V* const (&velocities)[Velocities], const Write& write) const {
    const row_coefficients<real> step(transitions[tile.row]);
    const auto visit = [&](int access, const auto& of_x, const auto& of_v) {
      real at_x[width], at_v[width], r[width], g[width];
      thread.template load<T>(of_x[0], at_x);
      thread.template load<V>(of_v[0], at_v);
      const auto residual = [&](index_t row) {
        thread.template load<T>(tile.template read<Whole>(thread, tile.of(in.y.row(row)), access), r);
        for (int j = 0; j < width; ++j) r[j] = step.residual(at_x[j], at_v[j], r[j]);
      };
      const policy_outcome<real> of_first = outcomes[rows.first];
      residual(rows.first);
      for (int j = 0; j < width; ++j) g[j] = policy_gradient(of_first.slope, r[j]);
      for (index_t row = rows.first + 1; row < rows.last; ++row) {
        const policy_outcome<real> outcome = outcomes[row];
        if (!outcome.finite) continue;
        residual(row);
        for (int j = 0; j < width; ++j) g[j] = policy_gradient_plus(g[j], outcome.slope, r[j]);
      }
      if constexpr (HasReference) {
        const real slope = static_cast<real>(rows.count) * of_first.reference_slope;
        thread.template load<V>(of_v[1], r);
        for (int j = 0; j < width; ++j) g[j] = policy_gradient_plus(g[j], slope, at_v[j] - r[j]);
      }
      write(access, g);
    };
    tile.template each_read<Whole>(thread, x, velocities, visit);
  }
};

}  // namespace tempflow::detail
