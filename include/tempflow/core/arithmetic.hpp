// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a backend does the arithmetic of a row: in which type, and in which fixed order it sums.
//
// The text of a row's arithmetic is written once, in ops/row.hpp, over one of these.

#include <limits>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/scalar.hpp"

namespace tempflow {

/// Production arithmetic: fp32 (fp64 for double) within tiles of 1,024 elements, double across tiles.
///
/// A tile is summed in 32 lanes (element e into lane e mod 32) that a fixed tree then folds, so the bits
/// depend on the row alone. For D non-negative terms the relative error of a row's sum is below 40 eps in
/// fp32 (eps = 2^-24, D up to 1e12), and below (37 + D / 1024) eps in fp64 (eps = 2^-53). Derivation:
/// docs/maths.md.
struct tiled_arithmetic {
  template <storage_scalar T>
  using real = compute_t<T>;

  static constexpr index_t tile = 1024;
  static constexpr int lanes = 32;

  /// Sum over e in [first, last) of term(e), where accumulate(e, partial) returns partial + term(e).
  template <class Real, class Accumulate>
  TEMPFLOW_INLINE static double sum(index_t first, index_t last, const Accumulate& accumulate) {
    Real lane[lanes] = {};
    index_t e = first;
    for (; e + lanes <= last; e += lanes) {
      for (int l = 0; l < lanes; ++l) lane[l] = accumulate(e + l, lane[l]);
    }
    for (int l = 0; e + l < last; ++l) lane[l] = accumulate(e + l, lane[l]);
    for (int width = lanes / 2; width > 0; width /= 2) {
      for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
    }
    return static_cast<double>(lane[0]);
  }
};

/// The oracle's arithmetic: everything in double, summed one element after another.
struct plain_double_arithmetic {
  template <storage_scalar T>
  using real = double;

  static constexpr index_t tile = (std::numeric_limits<index_t>::max)();

  template <class Real, class Accumulate>
  TEMPFLOW_INLINE static double sum(index_t first, index_t last, const Accumulate& accumulate) {
    double total = 0;
    for (index_t e = first; e < last; ++e) total = accumulate(e, total);
    return total;
  }
};

}  // namespace tempflow
