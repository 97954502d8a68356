// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loss and gradient of whole rows, read once: each warp of a cluster keeps r and v - v_ref of a tile in
// shared memory, the sums of the tiles meet there, and the gradient is written from there. Without clusters a
// block can do it alone, for rows of up to 16 tiles.

#include "tempflow/device/kernels/policy_tile.hpp"

namespace tempflow::detail {

/// Shared memory of a block behind the slabs of its warps: where the warps of a row meet.
struct policy_row_shared {
  static constexpr int max_warps = 16;

  double sums[2][max_warps];
  policy_factors factors;
  policy_outcome<float> outcome;
  bool fits[max_warps];
};

/// Shared memory of a block; slabs: of a warp.
constexpr index_t policy_row_shared_bytes(index_t warps, int slabs) {
  return warps * slabs * warp_slab<float>::bytes + static_cast<index_t>(sizeof(policy_row_shared));
}

/// A row for each cluster, a tile for each warp.
template <storage_scalar T, storage_scalar V, storage_scalar G, class Objective, bool HasReference>
struct policy_row_kernel {
  static constexpr int max_warps = policy_row_shared::max_warps;
  static constexpr int min_blocks = 2;
  static constexpr int slabs = HasReference ? 2 : 1;

  policy_inputs<T, V, HasReference> in;
  policy_terms<Objective, row_table> terms;
  batch_view<G> gradient;
  policy_row* rows;
  index_t tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const int warps = thread.warps(), warp = thread.warp();
    const index_t i = thread.row();
    if (i >= in.v.rows()) return;
    const warp_tile<T> tile(i, thread.block() * warps + warp, in.v.columns(), thread.lane());
    auto& shared =
        *reinterpret_cast<policy_row_shared*>(thread.shared() + warps * slabs * warp_slab<T>::bytes);
    const policy_slabs<T, V, HasReference> slab(thread);
    if (warp == 0) {  // what the row needs beside its sums, while its elements are on their way
      if (tile.count > 0) in.prefetch(thread, tile);
      if (thread.lane() == 0) shared.factors = terms.factors_of(i, i);
    }
    if (tile.count > 0) {
      const auto sums = slab.read(thread, tile, in, i, terms.transitions[i]);
      if (thread.lane() == 0) shared.sums[0][warp] = sums.residual, shared.sums[1][warp] = sums.difference;
    }
    thread.sync_cluster();
    if (warp == 0) conclude(thread, i, shared);
    thread.sync_block();
    policy_outcome<float> outcome = shared.outcome;
    const bool writes = tile.count > 0 && !gradient.empty();
    if constexpr (std::same_as<G, float16>) {
      const bool in_tile = !writes || !outcome.finite || slab.fits(thread, tile, outcome);
      if (!fits_everywhere(thread, thread.all(in_tile), shared)) {
        outcome.finite = false;
        if (thread.block() == 0 && warp == 0 && thread.lane() == 0) mark_overflow(rows[i]);
      }
    }
    thread.arrive_cluster_relaxed();  // this block needs nothing more of the others' memory
    if (writes) slab.write(thread, tile, outcome, gradient.row(i));
    thread.wait_cluster();  // others may still read this block's
  }

 private:
  /// Each block concludes for itself, from the same sums in the same order.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void conclude(const Thread& thread, index_t i, policy_row_shared& shared) const {
    const int warps = thread.warps();
    const auto total = [&](int which) {
      return sum_of_tiles(thread, tiles, [&](index_t t) {
        const int block = static_cast<int>(t) / warps, of_block = static_cast<int>(t) % warps;
        return thread.in_block(block, &shared)->sums[which][of_block];
      });
    };
    const double squared = total(0), difference = HasReference ? total(1) : 0;
    if (thread.lane() != 0) return;
    policy_row row;
    shared.outcome = conclude_row<float>(terms, shared.factors, squared, difference, row);
    if (thread.block() == 0) rows[i] = row;
  }

  /// Whether the gradient fits in all warps of the cluster.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE bool fits_everywhere(const Thread& thread, bool fits,
                                              policy_row_shared& shared) const {
    const int warps = thread.warps(), all = warps * static_cast<int>(thread.blocks());
    if (thread.lane() == 0) shared.fits[thread.warp()] = fits;
    thread.sync_cluster();
    bool fit = true;
    for (int w = thread.lane(); w < all; w += warp_lanes)
      fit = fit && thread.in_block(w / warps, &shared)->fits[w % warps];
    return thread.all(fit);
  }
};

/// Blocks for rows of so many tiles: few warps per block, so that a multiprocessor has other blocks that load
/// while one waits. No blocks if the row does not fit. largest_cluster(shape): what the device can do.
template <class LargestCluster>
launch_shape policy_row_shape(index_t rows, index_t tiles, int slabs, const LargestCluster& largest_cluster) {
  struct choice {
    index_t warps, cluster;
  };
  for (const auto [max_warps, max_blocks] : {choice{8, 8}, choice{16, 8}, choice{16, 16}}) {
    index_t cluster = 1;
    while (cluster * max_warps < tiles) cluster *= 2;
    if (cluster > max_blocks) continue;
    const index_t warps = (tiles - 1) / cluster + 1;
    const launch_shape shape{.blocks = cluster,
                             .rows = rows,
                             .warps = static_cast<int>(warps),
                             .cluster = static_cast<int>(cluster),
                             .shared_bytes = policy_row_shared_bytes(warps, slabs)};
    if (cluster <= largest_cluster(shape)) return shape;
  }
  return {};
}

}  // namespace tempflow::detail
