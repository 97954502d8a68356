// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a warp does with a tile that it samples: draws its noise, writes the next state, and scores what it wrote.

#include <cstdint>

#include "tempflow/core/noise.hpp"
#include "tempflow/device/kernels/slab.hpp"
#include "tempflow/ops/detail/row_coefficients.hpp"

namespace tempflow::detail {

/// The noise of a lane's part of a tile: blocks of four elements, counted in 32 bits from the lane's first. Element
/// 0 of the row is the first of block `first_block`.
template <storage_scalar T>
class tile_noise {
  using tile = warp_tile<T>;

 public:
  TEMPFLOW_INLINE_DEVICE tile_noise(noise_key key, noise_id id, const tile& of, std::uint32_t first_block)
      : key_(key),
        id_(id),
        block_(static_cast<std::uint32_t>(of.first >> 2) + first_block),
        upper_((of.first & 2) != 0) {}

  /// The normals of an access.
  TEMPFLOW_INLINE_DEVICE void draw(int access, float (&z)[tile::width]) const {
    const std::uint32_t block = block_ + static_cast<std::uint32_t>(access * (tile::stride / 4));
    if constexpr (tile::width < 4) {
      const normal_quad quad = noise_block(key_, id_, block);
      for (int j = 0; j < 2; ++j) z[j] = upper_ ? quad.value[2 + j] : quad.value[j];
    } else {
      for (int b = 0; b < tile::width / 4; ++b) {
        const normal_quad quad = noise_block(key_, id_, block + static_cast<std::uint32_t>(b));
        for (int j = 0; j < 4; ++j) z[4 * b + j] = quad.value[j];
      }
    }
  }

 private:
  noise_key key_;
  noise_id id_;
  std::uint32_t block_;
  bool upper_;  ///< half of a block, in fp64
};

/// Draws y of a tile, writes it, and returns the sum of squared residuals of what was written.
template <reads Often, class Thread, storage_scalar T, storage_scalar V>
TEMPFLOW_INLINE_DEVICE double sample_tile(const Thread& thread, const warp_tile<T>& tile,
                                          const T* const (&x)[1], const V* const (&v)[1], T* y,
                                          const row_coefficients<compute_t<T>>& step,
                                          const tile_noise<T>& noise) {
  using real = compute_t<T>;
  constexpr int width = warp_tile<T>::width;
  const warp_slab<T> slab(thread, thread.warp_in_block());
  double squared = 0;
  dispatch_bool(tile.whole(x[0], v[0], y), [&](auto whole) {
    tile.template each_read<whole, Often, Often == reads::once>(
        thread, x, v, [&](int access, const auto& of_x, const auto& of_v) {
          real at_x[width], at_v[width], at_y[width];
          float z[width];
          noise.draw(access, z);
          thread.template load<T>(of_x[0], at_x);
          thread.template load<V>(of_v[0], at_v);
          for (int j = 0; j < width; ++j) at_y[j] = step.draw(at_x[j], at_v[j], real{z[j]});
          const auto drawn = thread.template store<T>(at_y);
          tile.template write<whole>(thread, y, access, drawn);
          thread.template load<T>(drawn, at_y);
          for (int j = 0; j < width; ++j) at_y[j] = step.residual(at_x[j], at_v[j], at_y[j]);
          slab.store(thread, access, at_y);
        });
    squared = slab.template sum_of_squares<whole>(thread, tile.count);
  });
  return squared;
}

/// Writes the mean of a tile: the step of the ODE.
template <reads Often, class Thread, storage_scalar T, storage_scalar V>
TEMPFLOW_INLINE_DEVICE void advance_tile(const Thread& thread, const warp_tile<T>& tile,
                                         const T* const (&x)[1], const V* const (&v)[1], T* y,
                                         const row_coefficients<compute_t<T>>& step) {
  constexpr int width = warp_tile<T>::width;
  dispatch_bool(tile.whole(x[0], v[0], y), [&](auto whole) {
    tile.template each_read<whole, Often>(thread, x, v, [&](int access, const auto& of_x, const auto& of_v) {
      compute_t<T> next[width], at_v[width];
      thread.template load<T>(of_x[0], next);
      thread.template load<V>(of_v[0], at_v);
      for (int j = 0; j < width; ++j) next[j] = step.mean(next[j], at_v[j]);
      tile.template write<whole>(thread, y, access, thread.template store<T>(next));
    });
  });
}

}  // namespace tempflow::detail
