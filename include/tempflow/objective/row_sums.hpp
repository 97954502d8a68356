// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every loss of the family is made of. With y drawn from x, and the velocities of the policy, a reference and the
// policy that drew the rollout,
//
//   r = y - alpha x - beta v,   v - v_ref,   v - v_old
//
// a loss is a scalar function of sums of their products over the elements, and its gradient is a sum of the same three,
// each times a factor. Derivation: docs/maths.md.

#include <cstdint>
#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// Sums over the elements of a row that count; NaN where policy_sums was not given what they are of. Eight doubles
/// in this order, so that R x 8 numbers are R rows. Those of the parts of a row, on several devices too, add up to
/// those of the row.
struct row_sums {
  double elements = 0;            ///< how many count
  double residual = 0;            ///< r^2
  double reference = 0;           ///< (v - v_ref)^2
  double residual_reference = 0;  ///< r (v - v_ref)
  double old = 0;                 ///< (v - v_old)^2
  double residual_old = 0;        ///< r (v - v_old)
  double positive = 0;            ///< |r| at v_old + b (v - v_old) in place of v; b: the loss's mixture
  double negative = 0;            ///< |r| at v_old - b (v - v_old)

  row_sums& operator+=(const row_sums& other) {
    elements += other.elements;
    residual += other.residual;
    reference += other.reference;
    residual_reference += other.residual_reference;
    old += other.old;
    residual_old += other.residual_old;
    positive += other.positive;
    negative += other.negative;
    return *this;
  }

  /// The same, each divided by the number of elements.
  TEMPFLOW_HD row_sums means() const {
    return {1,
            residual / elements,
            reference / elements,
            residual_reference / elements,
            old / elements,
            residual_old / elements,
            positive / elements,
            negative / elements};
  }
};
static_assert(std::is_trivially_copyable_v<row_sums> && std::is_standard_layout_v<row_sums> &&
              sizeof(row_sums) == 8 * sizeof(double));

namespace detail {

/// NaN in the sums of what was not given.
TEMPFLOW_HD inline row_sums without_missing(row_sums sums, bool has_reference, bool has_old,
                                            bool has_mixture) {
  if (!has_reference) sums.reference = sums.residual_reference = not_a_number;
  if (!has_old) sums.old = sums.residual_old = not_a_number;
  if (!has_old || !has_mixture) sums.positive = sums.negative = not_a_number;
  return sums;
}

/// Whether a sum was made: reads the bits.
TEMPFLOW_HD constexpr bool is_summed(double sum) {
  return (bit_cast<std::uint64_t>(sum) & 0x7fffffffffffffffu) <= 0x7ff0000000000000u;
}

}  // namespace detail

/// dL/dv of a row is residual r + reference (v - v_ref) + old (v - v_old).
struct row_factors {
  double residual = 0;
  double reference = 0;
  double old = 0;
};
static_assert(std::is_trivially_copyable_v<row_factors> && sizeof(row_factors) == 3 * sizeof(double));

}  // namespace tempflow
