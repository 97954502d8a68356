// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// From a row's sums to its numbers and the factors of its gradient: all of a general loss that is a number per row, for
// every backend. Sums of products are written as fused_multiply_add, so that no compiler decides how they are rounded.
//
// The objective is called between view() and conclude() by the backends, as in policy_terms.hpp.

#include <cmath>

#include "tempflow/config.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/objective/policy_statistics.hpp"
#include "tempflow/objective/row_objective.hpp"

namespace tempflow::detail {

/// What is the same for all rows of a batch.
struct row_constants {
  log_prob_convention convention;
  row_needs needs;
  double kl_beta = 0;
  kl_denominator kl_over = {};
  bool has_reference = false, has_old = false;
  double gradient_factor = 1;
  double vanishing = 0;  ///< numbers up to it are stored as zeros in the gradient; 0 without one
  double overflowing = positive_infinity;  ///< squared norms of parts of the gradient are not beyond it
  bool wide = false;                       ///< the gradient is computed in double
};

/// A row without the objective's answer.
TEMPFLOW_NOINLINE TEMPFLOW_HD inline scored_row view_row(const row_constants& of, const transition& step,
                                                         double old_log_prob, double advantage, double weight,
                                                         const row_sums& sums) {
  scored_row row{.step = step, .advantage = advantage, .weight = weight, .mean = sums.means()};
  if (of.needs.ratio) {
    row.log_prob = gaussian_log_prob(sums.residual, step, static_cast<index_t>(sums.elements), of.convention);
    row.log_ratio = row.log_prob - old_log_prob;
  }
  return row;
}

/// The factors that an answer gives a row, before the scale of the gradient.
TEMPFLOW_HD inline row_factors factors_of(const row_constants& of, const scored_row& row, double elements,
                                          const row_slopes& slope) {
  const double beta = row.step.beta;
  const double crossed = slope.residual_reference + slope.residual_old;
  row_factors factors{
      .residual = fused_multiply_add(-2 * beta, slope.residual, crossed) / elements,
      .reference = fused_multiply_add(-beta, slope.residual_reference, 2 * slope.reference) / elements,
      .old = fused_multiply_add(-beta, slope.residual_old, 2 * slope.old) / elements};
  if (slope.log_ratio != 0) {
    const double of_density = log_prob_slope(row.step, static_cast<index_t>(elements), of.convention);
    factors.residual = fused_multiply_add(slope.log_ratio, of_density, factors.residual);
  }
  if (of.has_reference) {
    const double of_kl = kl_slope(row.step, static_cast<index_t>(elements), of.kl_over);
    factors.reference = fused_multiply_add(of.kl_beta, of_kl, factors.reference);
  }
  return factors;
}

/// The numbers of a row, and its factors: zeros where the row is left out.
TEMPFLOW_NOINLINE TEMPFLOW_HD inline policy_row conclude_row(const row_constants& of, const scored_row& row,
                                                             const row_loss& answer, const row_sums& sums,
                                                             row_factors& factors) {
  policy_row to;
  to.log_prob = row.log_prob;
  to.log_ratio = row.log_ratio;
  to.ratio = std::exp(row.log_ratio);
  if (of.has_reference)
    to.kl = gaussian_kl(sums.reference, row.step, static_cast<index_t>(sums.elements), of.kl_over);
  to.surrogate = answer.loss;
  to.below = answer.below ? 1 : 0;
  to.above = answer.above ? 1 : 0;
  factors = factors_of(of, row, sums.elements, answer.slope);
  factors.residual *= of.gradient_factor;
  factors.reference *= of.gradient_factor;
  factors.old *= of.gradient_factor;
  // Sums that are not given are NaN, which -ffast-math may compare as it likes, and their factors 0.
  const auto fits = [&of](double factor, double squares) {
    return (of.wide ? is_finite(factor) : is_finite(static_cast<float>(factor))) &&
           (factor == 0 || !(factor * factor * squares > of.overflowing));
  };
  const bool finite = is_finite(sums.residual) && (!of.has_reference || is_finite(sums.reference)) &&
                      (!of.has_old || is_finite(sums.old)) && is_finite(to.kl) && is_finite(answer.loss) &&
                      is_finite(row.log_ratio) && fits(factors.residual, sums.residual) &&
                      fits(factors.reference, sums.reference) && fits(factors.old, sums.old);
  to.finite = finite ? 1 : 0;
  // Half of a normal's values are smaller than this share of their root mean square.
  constexpr double median = 0.6745;
  const double part = factors.residual * factors.residual * sums.residual, limit = of.vanishing / median;
  to.underflowed = part > 0 && part < limit * limit * sums.elements ? 1 : 0;
  if (!finite) factors = {}, to.surrogate = not_a_number;
  return to;
}

}  // namespace tempflow::detail
