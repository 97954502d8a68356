// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_loss on a device. A row that fits into the registers of the blocks of a cluster is read once
// (ops/cuda/policy_row_kernel.hpp). Others take two passes: sums, then the gradient, from the last tile to the
// first because the last are still in the cache.

#include "tempflow/ops/cuda/policy_row_kernel.hpp"
#include "tempflow/ops/cuda/row_meeting.hpp"
#include "tempflow/ops/policy_loss.hpp"

namespace tempflow::detail {

/// The first pass: the numbers of each row, and its slopes.
template <storage_scalar T, class Objective>
struct policy_sums_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  policy_inputs<T> in;
  policy_terms<Objective> terms;
  policy_outcome<compute_t<T>>* outcomes;
  policy_row* rows;
  row_meeting meeting;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& here) const {
    using real = compute_t<T>;
    const auto tile = meeting.tile_of<T>(here, in.v.columns());
    const index_t i = tile.row;
    if (i >= meeting.rows) return;
    real r[warp_tile<T>::of_lane], d[warp_tile<T>::of_lane];
    in.read(here, tile, terms.transitions[i], r, d);
    real* const slab = slab_of<T>(here);
    meeting.leave(here, i, tile.index, 0, tile.sum_of_squares(here, r, slab));
    if (terms.has_reference) meeting.leave(here, i, tile.index, 1, tile.sum_of_squares(here, d, slab));
    if (!meeting.complete(here, i)) return;
    const double squared = meeting.total(here, i, 0);
    const double difference = terms.has_reference ? meeting.total(here, i, 1) : 0;
    if (here.lane() == 0) outcomes[i] = conclude_row<real>(terms, i, squared, difference, rows[i]);
  }
};

/// The second pass.
template <storage_scalar T, storage_scalar G>
struct policy_gradient_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  policy_inputs<T> in;
  per_row<transition> transitions;
  bool has_reference;
  const policy_outcome<compute_t<T>>* outcomes;
  policy_row* rows;
  batch_view<G> gradient;
  row_meeting meeting;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& here) const {
    const index_t item = here.block() * tile_warps<T> + here.warp(), items = meeting.rows * meeting.tiles;
    if (item >= items) return;
    const index_t from_end = items - 1 - item;
    const warp_tile<T> tile(from_end / meeting.tiles, from_end % meeting.tiles, in.v.columns(), here.lane());
    const index_t i = tile.row;
    const policy_outcome<compute_t<T>> outcome = outcomes[i];
    G* const to = gradient.row(i);
    bool fit = true;
    in.each_access(here, tile, transitions[i], to,
                   [&](auto whole, auto access, const auto& r, const auto& d) TEMPFLOW_INLINE_LAMBDA {
                     const auto out =
                         policy_gradient_of<G, warp_tile<T>::width>(here, outcome, has_reference, r, d);
                     if constexpr (std::same_as<G, float16>) fit = fit && fits(here, out);
                     tile.template write<whole>(here, to, access, out);
                   });
    if constexpr (std::same_as<G, float16>) {  // several warps of a row may mark it, all in the same way
      if (!here.all(fit)) mark_overflow(rows[i]);
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
  row_meeting meeting;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& here) const {
    const auto tile = meeting.tile_of<G>(here, gradient.columns());
    if (tile.row >= meeting.rows || rows[tile.row].finite) return;
    for (int e = here.lane(); e < tile.count; e += warp_lanes) gradient.row(tile.row)[tile.first + e] = G{};
  }
};

template <class Device, storage_scalar T, class Objective, storage_scalar G>
void run_policy_loss(const device_backend<Device>& place, const policy_batch<T>& batch,
                     const batch_view<const T>& v, const batch_view<const T>& v_ref,
                     const policy_terms<const Objective&>& given, const batch_view<G>& gradient,
                     std::span<policy_row> results) {
  using real = compute_t<T>;
  const index_t rows = v.rows(), elements = v.columns(), tiles = (elements - 1) / warp_tile<T>::size + 1;
  if (rows < 1) return;
  device_call call(place, "policy_loss");
  call.expects("x", batch.x, "y", batch.y, "v", v, "v_ref", v_ref, "gradient", gradient);
  policy_row* const to = call.output("rows", results);
  const policy_inputs<T> in{batch.x, batch.y, v, v_ref};
  const policy_terms<Objective> terms{call.on_device(given.transitions),
                                      call.on_device(given.old_log_probs, rows),
                                      call.on_device(given.advantages, rows),
                                      call.on_device(given.weights),
                                      given.convention,
                                      given.objective,
                                      given.elements,
                                      given.gradient_factor,
                                      given.has_reference};
  if constexpr (std::same_as<real, float>) {
    using kernel_of_row = policy_row_kernel<T, G, Objective>;
    const kernel_of_row whole_rows{in, terms, gradient, to, tiles};
    const launch_shape shape = policy_row_shape(rows, tiles, [&](const launch_shape& candidate) {
      return call.device().largest_cluster(whole_rows, candidate);
    });
    if (shape.blocks > 0) {
      call.launch(whole_rows, shape);
      return call.finish();
    }
  }
  auto* const outcomes = call.template take<policy_outcome<real>>(rows);
  const row_meeting meeting = make_meeting<T>(call, rows, elements, 2);
  call.launch(policy_sums_kernel<T, Objective>{in, terms, outcomes, to, meeting},
              tile_shape<T>(rows, elements, true));
  if (!gradient.empty()) {
    call.launch(policy_gradient_kernel<T, G>{in, terms.transitions, terms.has_reference, outcomes, to,
                                             gradient, meeting},
                tile_shape<T>(rows, elements, false));
    if constexpr (std::same_as<G, float16>) {
      call.launch(clear_rows_kernel<G>{to, gradient, meeting}, tile_shape<G>(rows, elements, false));
    }
  }
  call.finish();
}

}  // namespace tempflow::detail
