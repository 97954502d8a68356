// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A warp's part of shared memory: numbers of a tile, and their sum of squares in the order of
// tiled_arithmetic, so that its bits are the cpu backend's. Lanes hold neighbouring elements and the sum
// wants element e in lane e mod 32: the slab transposes.

#include "tempflow/device/kernels/tile.hpp"

namespace tempflow::detail {

/// The sum over the lanes of a warp, in all of them: lane l and lane l + 16, then l and l + 8, and so on.
template <class Thread, class Real>
TEMPFLOW_INLINE_DEVICE Real fold(const Thread& thread, Real partial) {
  for (int half = warp_lanes / 2; half > 0; half /= 2) partial += thread.shuffle_xor(partial, half);
  return partial;
}

/// 1,024 reals: one per element of a tile of T.
template <storage_scalar T>
class warp_slab {
  using tile = warp_tile<T>;

 public:
  using real = compute_t<T>;
  static constexpr index_t bytes = tile::size * sizeof(real);

  /// number: of the slab in the block's shared memory.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE warp_slab(const Thread& thread, int number)
      : elements_(reinterpret_cast<real*>(thread.shared()) + number * tile::size),
        lane_(thread.lane()),
        first_(elements_ + (lane_ * tile::width ^ (trades ? lane_ & 4 : 0))),
        second_(elements_ + ((lane_ * tile::width + of_vector) ^ (trades ? lane_ & 4 : 0))) {}

  /// Keeps the numbers of an access.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void store(const Thread& thread, int access,
                                    const real (&numbers)[tile::width]) const {
    real vector[of_vector];
    for (int j = 0; j < of_vector; ++j) vector[j] = numbers[j];
    thread.write_shared(first_ + access * tile::stride, vector);
    if constexpr (trades) {
      for (int j = 0; j < of_vector; ++j) vector[j] = numbers[of_vector + j];
      thread.write_shared(second_ + access * tile::stride, vector);
    }
  }

  /// What the lane has kept.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void load(const Thread& thread, int access, real (&numbers)[tile::width]) const {
    real vector[of_vector];
    thread.read_shared(first_ + access * tile::stride, vector);
    for (int j = 0; j < of_vector; ++j) numbers[j] = vector[j];
    if constexpr (trades) {
      thread.read_shared(second_ + access * tile::stride, vector);
      for (int j = 0; j < of_vector; ++j) numbers[of_vector + j] = vector[j];
    }
  }

  /// Element 32 at + lane of the tile, once all lanes have kept theirs.
  TEMPFLOW_INLINE_DEVICE real element(int at) const {
    return elements_[at * group + (trades && at % 2 != 0 ? lane_ ^ 4 : lane_)];
  }

  /// Sums over a tile with `count` elements, in all lanes: add(at, partial) adds the terms of element(at), of this slab
  /// and others.
  template <bool Whole, class Thread, class Add, int Sums>
  TEMPFLOW_INLINE_DEVICE void sums_of(const Thread& thread, int count, const Add& add,
                                      double (&sums)[Sums]) const {
    thread.sync_warp();
    real partial[Sums] = {};
    if constexpr (Whole) {
      static_for<tile::elements_per_lane>([&]<int At>() { add(At, partial); });
    } else {
      for (int at = 0; at * group + lane_ < count; ++at) add(at, partial);
    }
    thread.sync_warp();
    for (int s = 0; s < Sums; ++s) sums[s] = static_cast<double>(fold(thread, partial[s]));
  }

  /// The sum of squares of what the warp has kept of a tile with `count` elements, in all lanes.
  template <bool Whole, class Thread>
  TEMPFLOW_INLINE_DEVICE double sum_of_squares(const Thread& thread, int count) const {
    thread.sync_warp();
    real partial = 0;
    const real *const even = elements_ + lane_, *const odd = elements_ + (trades ? lane_ ^ 4 : lane_);
    if constexpr (Whole) {
      static_for<tile::elements_per_lane>([&]<int At>() {
        const real element = (At % 2 == 0 ? even : odd)[At * group];
        partial = fused_multiply_add(element, element, partial);
      });
    } else {
      for (int at = 0; at * group + lane_ < count; ++at) {
        const real element = (at % 2 == 0 ? even : odd)[at * group];
        partial = fused_multiply_add(element, element, partial);
      }
    }
    thread.sync_warp();
    return static_cast<double>(fold(thread, partial));
  }

 private:
  static constexpr int of_vector = 16 / sizeof(real);

  /// Whether a lane's numbers are two vectors of 16 bytes. Then four lanes in eight write the second where
  /// the others write the first, so that their banks differ; elements 4 to 7 and 0 to 3 of each eight trade
  /// places in every other 32.
  static constexpr bool trades = tile::width > of_vector;

  real* elements_;
  int lane_;
  real *first_, *second_;
};

}  // namespace tempflow::detail
