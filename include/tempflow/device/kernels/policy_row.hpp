// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loss and gradient of whole rows, read once: each warp of a cluster keeps a tile of the row in registers,
// the sums of the tiles meet in the blocks' shared memory, and the gradient is written from the registers.
// Without clusters a block can do it alone, for rows of up to 16 tiles.

#include <algorithm>

#include "tempflow/device/kernels/row_reduction.hpp"
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

/// The numbers of a row, from its sums.
template <class Real, class Objective>
TEMPFLOW_DEVICE policy_outcome<Real> conclude_row(const policy_terms<Objective, row_table>& terms, index_t i,
                                                  double squared_residual, double squared_difference,
                                                  policy_row& to) {
  policy_row row = terms.score(i, squared_residual, squared_difference);
  // An objective without TEMPFLOW_HD is an error here, in a function of the device alone; anywhere else it would be a
  // warning, and a kernel without the objective in it.
  const surrogate answer = terms.objective(row.log_ratio, terms.advantages[i], terms.weights[i]);
  terms.conclude(answer, row);
  policy_outcome<Real> outcome;
  outcome.slope = static_cast<Real>(terms.slope_of(i, answer));
  outcome.reference_slope = static_cast<Real>(terms.reference_slope(i));
  row.finite = row.finite && is_finite(outcome.slope) && is_finite(outcome.reference_slope);
  outcome.finite = row.finite;
  if (!row.finite) row.surrogate = not_a_number;
  to = row;
  return outcome;
}

/// The batches that the loss reads.
template <storage_scalar T>
struct policy_inputs {
  batch_view<const T> x, y, v, v_ref;

  /// Calls visit(whole, access, r, d) for each access to a tile, with r = y - alpha x - beta v and d = v - v_ref
  /// of its elements; d = 0 without v_ref. gradient: what else is accessed, or null.
  template <class Thread, class G, class Visit>
  TEMPFLOW_INLINE_DEVICE void each_access(const Thread& thread, const warp_tile<T>& tile,
                                          const transition& of_row, const G* gradient,
                                          const Visit& visit) const {
    using real = compute_t<T>;
    using part = warp_tile<T>;
    const row_coefficients<real> step(of_row);
    const bool referred = v_ref.data() != nullptr;
    const T *const xi = x.row(tile.row), *const yi = y.row(tile.row), *const vi = v.row(tile.row);
    const T* const ri = referred ? v_ref.row(tile.row) : vi;
    dispatch_bool(tile.whole(xi, yi, vi, ri, gradient), [&](auto whole) {
      static_for<part::accesses>([&](auto access) {
        const auto xs = tile.template read<whole>(thread, xi, access),
                   ys = tile.template read<whole>(thread, yi, access),
                   vs = tile.template read<whole>(thread, vi, access);
        auto refs = vs;
        if (referred) refs = tile.template read<whole>(thread, ri, access);
        real r[part::width], d[part::width];
        for (int j = 0; j < part::width; ++j) {
          const real at_v = thread.load(vs.value[j]);
          r[j] = step.residual(thread.load(xs.value[j]), at_v, thread.load(ys.value[j]));
          d[j] = at_v - thread.load(refs.value[j]);
        }
        visit(whole, access, r, d);
        // No more loads on their way than there are registers for: 16 accesses, or those of single elements.
        if (!whole || access % 4 == 3) thread.sync_warp();
      });
    });
  }

  /// r and d of a tile.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void read(const Thread& thread, const warp_tile<T>& tile, const transition& of_row,
                                   compute_t<T> (&r)[warp_tile<T>::of_lane],
                                   compute_t<T> (&d)[warp_tile<T>::of_lane]) const {
    constexpr int width = warp_tile<T>::width;
    each_access(thread, tile, of_row, static_cast<const T*>(nullptr),
                [&](auto, auto access, const auto& r_of, const auto& d_of) {
                  for (int j = 0; j < width; ++j) {
                    r[access * width + j] = r_of[j];
                    d[access * width + j] = d_of[j];
                  }
                });
  }
};

/// dL/dv of neighbouring elements, rounded to storage.
template <storage_scalar G, int Width, class Thread, class Real>
TEMPFLOW_INLINE_DEVICE packet<G, Width> policy_gradient_of(const Thread& thread,
                                                           const policy_outcome<Real>& outcome,
                                                           bool has_reference, const Real* r, const Real* d) {
  packet<G, Width> out;
  for (int j = 0; j < Width; ++j) {
    const Real element = has_reference ? policy_gradient(outcome.slope, r[j], outcome.reference_slope, d[j])
                                       : policy_gradient(outcome.slope, r[j]);
    out.value[j] = outcome.finite ? thread.template store<G>(element) : G{};
  }
  return out;
}

/// Whether they are all finite; only fp16 overflows where fp32 does not.
template <class Thread, storage_scalar G, int Width>
TEMPFLOW_INLINE_DEVICE bool fits(const Thread& thread, const packet<G, Width>& elements) {
  bool all = true;
  for (const G element : elements.value) all = all && is_finite(thread.load(element));
  return all;
}

/// Marks a row whose gradient overflows its type: a loss scale that is too large for fp16.
TEMPFLOW_DEVICE inline void mark_overflow(policy_row& row) {
  row.finite = false;
  row.surrogate = not_a_number;
}

/// Shared memory of a block behind the slabs of its warps: where the warps of a row meet.
struct policy_row_shared {
  static constexpr int most_warps = 16;

  double sums[2][most_warps];
  policy_outcome<float> outcome;
  bool fits[most_warps];
};

/// Shared memory of a block.
constexpr index_t policy_row_shared_bytes(index_t warps) {
  return warps * warp_tile<float>::size * static_cast<index_t>(sizeof(float)) +
         static_cast<index_t>(sizeof(policy_row_shared));
}

/// A row for each cluster, a tile for each warp.
template <storage_scalar T, storage_scalar G, class Objective>
struct policy_row_kernel {
  static constexpr int most_warps = policy_row_shared::most_warps;
  static constexpr int least_blocks = 1;

  policy_inputs<T> in;
  policy_terms<Objective, row_table> terms;
  batch_view<G> gradient;
  policy_row* rows;
  index_t tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using part = warp_tile<T>;
    const int warps = thread.warps(), warp = thread.warp(), blocks = thread.cluster_blocks();
    const index_t i = thread.block() / blocks;
    const index_t index = index_t{thread.block_in_cluster()} * warps + warp;
    auto& shared =
        *reinterpret_cast<policy_row_shared*>(thread.shared() + warps * warp_tile<T>::size * sizeof(float));
    const bool works = index < tiles;
    const warp_tile<T> tile(i, works ? index : 0, in.v.columns(), thread.lane());
    float r[part::of_lane] = {}, d[part::of_lane] = {};
    if (works) {
      in.read(thread, tile, terms.transitions[i], r, d);
      const double squared = tile.sum_of_squares(thread, r, slab_of<T>(thread));
      const double difference = terms.has_reference ? tile.sum_of_squares(thread, d, slab_of<T>(thread)) : 0;
      if (thread.lane() == 0) shared.sums[0][warp] = squared, shared.sums[1][warp] = difference;
    }
    thread.sync_cluster();
    if (warp == 0) conclude(thread, i, warps, shared);
    thread.sync_block();
    policy_outcome<float> outcome = shared.outcome;
    if constexpr (std::same_as<G, float16>) {
      bool in_tile = true;
      static_for<part::accesses>([&](auto access) {
        constexpr int at = access * part::width;
        in_tile = in_tile && fits(thread, policy_gradient_of<G, part::width>(
                                              thread, outcome, terms.has_reference, r + at, d + at));
      });
      if (!fits_everywhere(thread, thread.all(!works || gradient.empty() || in_tile), shared)) {
        outcome.finite = false;
        if (thread.block_in_cluster() == 0 && warp == 0 && thread.lane() == 0) mark_overflow(rows[i]);
      }
    }
    thread.arrive_cluster();  // this block needs nothing more of the others' memory
    if (works && !gradient.empty()) {
      G* const to = gradient.row(i);
      dispatch_bool(tile.whole(to), [&](auto whole) {
        static_for<part::accesses>([&](auto access) {
          constexpr int at = access * part::width;
          tile.template write<whole>(
              thread, to, access,
              policy_gradient_of<G, part::width>(thread, outcome, terms.has_reference, r + at, d + at));
        });
      });
    }
    thread.wait_cluster();  // others may still read this block's
  }

 private:
  /// Each block concludes for itself, from the same sums in the same order.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void conclude(const Thread& thread, index_t i, int warps,
                                       policy_row_shared& shared) const {
    const auto total = [&](int which) {
      return sum_of_tiles(thread, tiles, [&](index_t t) {
        const int block = static_cast<int>(t) / warps, of_block = static_cast<int>(t) % warps;
        return thread.in_block(block, &shared)->sums[which][of_block];
      });
    };
    const double squared = total(0), difference = terms.has_reference ? total(1) : 0;
    if (thread.lane() != 0) return;
    policy_row row;
    shared.outcome = conclude_row<float>(terms, i, squared, difference, row);
    if (thread.block_in_cluster() == 0) rows[i] = row;
  }

  /// Whether the gradient fits in all warps of the cluster.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE bool fits_everywhere(const Thread& thread, bool fits,
                                              policy_row_shared& shared) const {
    const int warps = thread.warps(), all = warps * thread.cluster_blocks();
    if (thread.lane() == 0) shared.fits[thread.warp()] = fits;
    thread.sync_cluster();
    bool fit = true;
    for (int w = thread.lane(); w < all; w += warp_lanes)
      fit = fit && thread.in_block(w / warps, &shared)->fits[w % warps];
    return thread.all(fit);
  }
};

/// Blocks for rows of so many tiles: few warps a block, so that a multiprocessor has a second block that loads
/// while the first one waits. No blocks if the row does not fit. largest_cluster(shape): what the device can do.
template <class LargestCluster>
launch_shape policy_row_shape(index_t rows, index_t tiles, const LargestCluster& largest_cluster) {
  struct choice {
    index_t warps, cluster;
  };
  for (const auto [most_warps, most_blocks] : {choice{8, 8}, choice{16, 8}, choice{16, 16}}) {
    index_t cluster = 1;
    while (cluster * most_warps < tiles) cluster *= 2;
    if (cluster > most_blocks) continue;
    const index_t warps = (tiles - 1) / cluster + 1;
    const launch_shape shape{.blocks = rows * cluster,
                             .warps = static_cast<int>(warps),
                             .cluster = static_cast<int>(cluster),
                             .shared_bytes = policy_row_shared_bytes(warps)};
    if (cluster <= largest_cluster(shape)) return shape;
  }
  return {};
}

}  // namespace tempflow::detail
