// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a backend does the arithmetic of a row: in which type, and in which fixed order it sums.
//
// The text of a row's arithmetic is written once, in ops/host/row.hpp, over one of these.

#include <cstring>
#include <limits>

#include "tempflow/config.hpp"
#include "tempflow/core/element.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/instruction_set.hpp"
#include "tempflow/core/scalar.hpp"

namespace tempflow {

namespace detail {

/// For sums that do nothing else on their way.
struct nothing {
  TEMPFLOW_INLINE_HOST void operator()(index_t, index_t) const {}
};

}  // namespace detail

/// What a tile adds to the sums of its row.
template <int Count>
struct tile_sums {
  double value[Count] = {};
};

/// Production arithmetic: fp32 (fp64 for double) within tiles of 1,024 elements, double across tiles.
///
/// A tile is summed in 32 lanes (element e into lane e mod 32) that a fixed tree then folds, so the bits
/// depend on the row alone. For D non-negative terms the relative error of a row's sum is below 40 eps in
/// fp32 (eps = 2^-24, D up to 1e12), and below (42 + D / 32768) eps in fp64 (eps = 2^-53). Derivation:
/// docs/maths.md.
struct tiled_arithmetic {
  template <storage_scalar T>
  using real = compute_t<T>;

  static constexpr index_t tile = 1024;

  /// Sums over the positions [first, last), where accumulate(at, partial) adds a position's terms to
  /// partial[0] to partial[Count - 1]. T and Rows: what the rows are stored as. Calls meanwhile(begin, end) for pieces
  /// that cover [first, last), each while its elements are in registers.
  template <int Count, instruction_set Instructions, storage_scalar T, storage_scalar... Rows,
            class Accumulate, class Meanwhile = detail::nothing>
  TEMPFLOW_INLINE_HOST static tile_sums<Count> sum(index_t first, index_t last, const Accumulate& accumulate,
                                                   const Meanwhile& meanwhile = {}) {
    using number = real<T>;
    using plan = detail::visit_plan<number, Instructions, T, Rows...>;
    typename plan::value partial[Count][plan::visits];
    for (auto& row : partial) {
      for (auto& value : row) value = number{0};
    }
    index_t e = first;
    for (; e + detail::group <= last; e += detail::group) {
      plan::group_from(e, [&] TEMPFLOW_INLINE_LAMBDA(auto at, int i) {
        typename plan::value terms[Count];
        for (int s = 0; s < Count; ++s) terms[s] = partial[s][i];
        accumulate(at, terms);
        for (int s = 0; s < Count; ++s) partial[s][i] = terms[s];
      });
      meanwhile(e, e + detail::group);
    }
    tile_sums<Count> sums;
    number lane[Count][detail::group];
    static_assert(sizeof lane == sizeof partial);
    std::memcpy(lane, partial, sizeof lane);
    meanwhile(e, last);
    for (int l = 0; e + l < last; ++l) {
      number terms[Count];
      for (int s = 0; s < Count; ++s) terms[s] = lane[s][plan::slot_of(l)];
      accumulate(detail::element_at<number>{e + l}, terms);
      for (int s = 0; s < Count; ++s) lane[s][plan::slot_of(l)] = terms[s];
    }
    for (int s = 0; s < Count; ++s) sums.value[s] = static_cast<double>(fold<plan::in_halves>(lane[s]));
    return sums;
  }

 private:
  /// The sum of all lanes: lane l and lane l + 16, then l and l + 8, and so on. In halves, even lanes come
  /// first, and neighbours meet last.
  template <bool Halves, class Real>
  TEMPFLOW_INLINE_HOST static Real fold(Real (&lane)[detail::group]) {
    if constexpr (Halves) {
      constexpr int half = detail::group / 2;
      for (int width = half / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
        for (int l = half; l < half + width; ++l) lane[l] += lane[l + width];
      }
      return lane[0] + lane[half];
    } else {
      for (int width = detail::group / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
      }
      return lane[0];
    }
  }
};

/// The oracle's arithmetic: everything in double, summed one element after another.
struct plain_double_arithmetic {
  template <storage_scalar>
  using real = double;

  static constexpr index_t tile = (std::numeric_limits<index_t>::max)();

  template <int Count, instruction_set, storage_scalar... Rows, class Accumulate,
            class Meanwhile = detail::nothing>
  TEMPFLOW_INLINE_HOST static tile_sums<Count> sum(index_t first, index_t last, const Accumulate& accumulate,
                                                   const Meanwhile& meanwhile = {}) {
    tile_sums<Count> sums;
    for (index_t e = first; e < last; ++e) accumulate(detail::element_at<double>{e}, sums.value);
    meanwhile(first, last);
    return sums;
  }
};

}  // namespace tempflow
