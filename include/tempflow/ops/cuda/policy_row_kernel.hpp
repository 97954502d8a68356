// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loss and gradient of whole rows, read once: each warp of a cluster keeps a tile of the row in registers,
// the sums of the tiles meet in the blocks' shared memory, and the gradient is written from the registers.
// Without clusters a block can do it alone, for rows of up to 16 tiles.

#include <algorithm>

#include "tempflow/ops/cuda/row_meeting.hpp"
#include "tempflow/ops/policy_terms.hpp"
#include "tempflow/ops/row.hpp"

namespace tempflow::detail {

/// What the elements of a row come to: its slopes, or zeros.
template <class Real>
struct policy_outcome {
  Real slope;
  Real pull;
  bool finite;
};

/// The numbers of a row, from its sums.
template <class Real, class Objective>
TEMPFLOW_DEVICE policy_outcome<Real> conclude_row(const policy_terms<Objective>& terms, index_t i,
                                                  double squared_residual, double squared_difference,
                                                  policy_row& to) {
  policy_row row;
  policy_outcome<Real> outcome;
  outcome.slope = static_cast<Real>(terms.conclude(i, squared_residual, squared_difference, row));
  outcome.pull = static_cast<Real>(terms.pull(i));
  row.finite = row.finite && is_finite(outcome.slope) && is_finite(outcome.pull);
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
  TEMPFLOW_INLINE_DEVICE void each_access(const Thread& here, const warp_tile<T>& tile,
                                          const transition& of_row, const G* gradient,
                                          const Visit& visit) const {
    using real = compute_t<T>;
    using part = warp_tile<T>;
    const row_coefficients<real> step(of_row);
    const bool referred = v_ref.data() != nullptr;
    const T *const xi = x.row(tile.row), *const yi = y.row(tile.row), *const vi = v.row(tile.row);
    const T* const ri = referred ? v_ref.row(tile.row) : vi;
    either(tile.whole(xi, yi, vi, ri, gradient), [&](auto whole) TEMPFLOW_INLINE_LAMBDA {
      unrolled<part::accesses>([&](auto access) TEMPFLOW_INLINE_LAMBDA {
        const auto xs = tile.template read<whole>(here, xi, access),
                   ys = tile.template read<whole>(here, yi, access),
                   vs = tile.template read<whole>(here, vi, access);
        auto refs = vs;
        if (referred) refs = tile.template read<whole>(here, ri, access);
        real r[part::width], d[part::width];
        for (int j = 0; j < part::width; ++j) {
          const real at_v = here.load(vs.value[j]);
          r[j] = step.residual(here.load(xs.value[j]), at_v, here.load(ys.value[j]));
          d[j] = at_v - here.load(refs.value[j]);
        }
        visit(whole, access, r, d);
        // No more loads on their way than there are registers for: 16 accesses, or those of single elements.
        if (!whole || access % 4 == 3) here.sync_warp();
      });
    });
  }

  /// r and d of a tile.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void read(const Thread& here, const warp_tile<T>& tile, const transition& of_row,
                                   compute_t<T> (&r)[warp_tile<T>::of_lane],
                                   compute_t<T> (&d)[warp_tile<T>::of_lane]) const {
    constexpr int width = warp_tile<T>::width;
    each_access(here, tile, of_row, static_cast<const T*>(nullptr),
                [&](auto, auto access, const auto& r_of, const auto& d_of) TEMPFLOW_INLINE_LAMBDA {
                  for (int j = 0; j < width; ++j) {
                    r[access * width + j] = r_of[j];
                    d[access * width + j] = d_of[j];
                  }
                });
  }
};

/// dL/dv of neighbouring elements, rounded to storage.
template <storage_scalar G, int Width, class Thread, class Real>
TEMPFLOW_INLINE_DEVICE packet<G, Width> policy_gradient_of(const Thread& here,
                                                           const policy_outcome<Real>& outcome,
                                                           bool has_reference, const Real* r, const Real* d) {
  packet<G, Width> out;
  for (int j = 0; j < Width; ++j) {
    const Real element = has_reference ? policy_gradient(outcome.slope, r[j], outcome.pull, d[j])
                                       : policy_gradient(outcome.slope, r[j]);
    out.value[j] = outcome.finite ? here.template store<G>(element) : G{};
  }
  return out;
}

/// Whether they are all finite; only fp16 overflows where fp32 does not.
template <class Thread, storage_scalar G, int Width>
TEMPFLOW_INLINE_DEVICE bool fits(const Thread& here, const packet<G, Width>& elements) {
  bool all = true;
  for (const G element : elements.value) all = all && is_finite(here.load(element));
  return all;
}

/// Marks a row whose gradient overflows its type: a loss scale that is too large for fp16.
TEMPFLOW_DEVICE inline void mark_overflow(policy_row& row) {
  row.finite = false;
  row.surrogate = not_a_number;
}

/// Shared memory of a block behind the slabs of its warps: where the warps of a row meet.
struct policy_meeting {
  static constexpr int most_warps = 16;

  double sums[2][most_warps];
  policy_outcome<float> outcome;
  bool fits[most_warps];
};

/// Shared memory of a block.
constexpr index_t policy_row_shared_bytes(index_t warps) {
  return warps * warp_tile<float>::size * static_cast<index_t>(sizeof(float)) +
         static_cast<index_t>(sizeof(policy_meeting));
}

/// A row for each cluster, a tile for each warp.
template <storage_scalar T, storage_scalar G, class Objective>
struct policy_row_kernel {
  static constexpr int most_warps = policy_meeting::most_warps;
  static constexpr int least_blocks = 1;

  policy_inputs<T> in;
  policy_terms<Objective> terms;
  batch_view<G> gradient;
  policy_row* rows;
  index_t tiles;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& here) const {
    using part = warp_tile<T>;
    const int warps = here.warps(), warp = here.warp(), blocks = here.cluster_blocks();
    const index_t i = here.block() / blocks;
    const index_t index = index_t{here.block_in_cluster()} * warps + warp;
    auto& shared =
        *reinterpret_cast<policy_meeting*>(here.shared() + warps * warp_tile<T>::size * sizeof(float));
    const bool works = index < tiles;
    const warp_tile<T> tile(i, works ? index : 0, in.v.columns(), here.lane());
    float r[part::of_lane] = {}, d[part::of_lane] = {};
    if (works) {
      in.read(here, tile, terms.transitions[i], r, d);
      const double squared = tile.sum_of_squares(here, r, slab_of<T>(here));
      const double difference = terms.has_reference ? tile.sum_of_squares(here, d, slab_of<T>(here)) : 0;
      if (here.lane() == 0) shared.sums[0][warp] = squared, shared.sums[1][warp] = difference;
    }
    here.sync_cluster();
    if (warp == 0) conclude(here, i, warps, shared);
    here.sync_block();
    policy_outcome<float> outcome = shared.outcome;
    if constexpr (std::same_as<G, float16>) {
      bool in_tile = true;
      unrolled<part::accesses>([&](auto access) TEMPFLOW_INLINE_LAMBDA {
        constexpr int at = access * part::width;
        in_tile = in_tile && fits(here, policy_gradient_of<G, part::width>(here, outcome, terms.has_reference,
                                                                           r + at, d + at));
      });
      if (!fits_everywhere(here, here.all(!works || gradient.empty() || in_tile), shared)) {
        outcome.finite = false;
        if (here.block_in_cluster() == 0 && warp == 0 && here.lane() == 0) mark_overflow(rows[i]);
      }
    }
    here.arrive_cluster();  // this block needs nothing more of the others' memory
    if (works && !gradient.empty()) {
      G* const to = gradient.row(i);
      either(tile.whole(to), [&](auto whole) TEMPFLOW_INLINE_LAMBDA {
        unrolled<part::accesses>([&](auto access) TEMPFLOW_INLINE_LAMBDA {
          constexpr int at = access * part::width;
          tile.template write<whole>(
              here, to, access,
              policy_gradient_of<G, part::width>(here, outcome, terms.has_reference, r + at, d + at));
        });
      });
    }
    here.wait_cluster();  // others may still read this block's
  }

 private:
  /// Each block concludes for itself, from the same sums in the same order.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void conclude(const Thread& here, index_t i, int warps,
                                       policy_meeting& shared) const {
    const auto total = [&](int which) TEMPFLOW_INLINE_LAMBDA {
      return sum_of_tiles(here, tiles, [&](index_t t) TEMPFLOW_INLINE_LAMBDA {
        const int block = static_cast<int>(t) / warps, of_block = static_cast<int>(t) % warps;
        return here.in_block(block, &shared)->sums[which][of_block];
      });
    };
    const double squared = total(0), difference = terms.has_reference ? total(1) : 0;
    if (here.lane() != 0) return;
    policy_row row;
    shared.outcome = conclude_row<float>(terms, i, squared, difference, row);
    if (here.block_in_cluster() == 0) rows[i] = row;
  }

  /// Whether the gradient fits in all warps of the cluster.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE bool fits_everywhere(const Thread& here, bool fits, policy_meeting& shared) const {
    const int warps = here.warps(), all = warps * here.cluster_blocks();
    if (here.lane() == 0) shared.fits[here.warp()] = fits;
    here.sync_cluster();
    bool fit = true;
    for (int w = here.lane(); w < all; w += warp_lanes)
      fit = fit && here.in_block(w / warps, &shared)->fits[w % warps];
    return here.all(fit);
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
