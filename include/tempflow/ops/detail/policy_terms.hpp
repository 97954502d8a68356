// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The scalars of the loss: all of it that is a number per row (a transition) or per state that rows leave.
//
//   dL/dv = sum over a state's n rows of c1 r, + n c2 (v - v_ref):   slope_of() is c1, reference_slope() is c2
//
// The objective is called by the backends' kernels, not here: in a function of the device alone, where an
// objective that was not compiled for the device is an error.

#include <cmath>

#include "tempflow/config.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/objective/kl.hpp"
#include "tempflow/objective/policy_statistics.hpp"
#include "tempflow/objective/surrogate.hpp"

namespace tempflow::detail {

/// What the numbers of a row take beside its sums.
struct score_factors {
  log_prob_scale density;
  double kl_scale;
  double old_log_prob;
};

/// What the loss of a row takes beside its sums.
struct policy_factors {
  score_factors score;
  double slope;            ///< c with d log p / dv_e = c r_e
  double reference_slope;  ///< what multiplies v - v_ref
  double advantage, weight;
};

/// The scalars of a batch. Table: how values are found where the rows are computed.
template <class Objective, template <class> class Table = per_row>
struct policy_terms {
  Table<transition> transitions;                     ///< by state
  Table<double> old_log_probs, advantages, weights;  ///< by row
  log_prob_convention convention;
  Objective objective;
  index_t elements;
  double gradient_factor;
  bool has_reference;
  double vanishing = 0;  ///< numbers up to it are stored as zeros in the gradient; 0 without one
  double overflowing = positive_infinity;  ///< squared norms of parts of the gradient are not beyond it

  /// The same with another objective.
  template <class Other>
  policy_terms<Other, Table> with(const Other& other) const {
    return {transitions, old_log_probs,   advantages,    weights,   convention, other,
            elements,    gradient_factor, has_reference, vanishing, overflowing};
  }

  /// What multiplies v - v_ref.
  TEMPFLOW_HD double reference_slope(index_t state) const {
    if (!has_reference) return 0;
    return objective.kl_beta * kl_slope(transitions[state], elements, objective.kl_over) * gradient_factor;
  }

  /// What multiplies r, by the objective's answer. Not a part of its callers, so that it has the same bits in
  /// all instruction sets of a host, and so has score().
  TEMPFLOW_NOINLINE TEMPFLOW_HD double slope_of(index_t state, const surrogate& answer) const {
    return slope_of(log_prob_slope(transitions[state], elements, convention), answer);
  }
  TEMPFLOW_HD double slope_of(double slope, const surrogate& answer) const {
    return answer.slope * slope * gradient_factor;
  }

  /// The numbers of a row from its sums of r^2 and (v - v_ref)^2, but for the objective's.
  TEMPFLOW_NOINLINE TEMPFLOW_HD policy_row score(index_t state, index_t row, double squared_residual,
                                                 double squared_difference) const {
    const score_factors factors = score_factors_of(state, row);
    // By the function that sampling calls, compiled once: on policy the ratio is exactly 1.
    const double log_prob = gaussian_log_prob(squared_residual, transitions[state], elements, convention);
    return score(factors, log_prob, squared_residual, squared_difference);
  }
  /// The same for a row whose noise is drawn again, which is on policy by definition.
  TEMPFLOW_NOINLINE TEMPFLOW_HD policy_row score_on_policy(index_t state, index_t row,
                                                           double squared_difference) const {
    const score_factors factors = score_factors_of(state, row);
    return score(factors, factors.old_log_prob, 0, squared_difference);
  }
  TEMPFLOW_HD policy_row score(const score_factors& factors, double log_prob, double squared_residual,
                               double squared_difference) const {
    policy_row row;
    row.log_prob = log_prob;
    row.log_ratio = row.log_prob - factors.old_log_prob;
    row.ratio = std::exp(row.log_ratio);
    if (has_reference) row.kl = gaussian_kl(squared_difference, factors.kl_scale, elements);
    row.finite = is_finite(squared_residual) && is_finite(row.kl) ? 1 : 0;
    return row;
  }

  /// The sum of r^2 that a row of this state's noise comes to, on average.
  TEMPFLOW_HD double expected_square(index_t state) const {
    const double std = transitions[state].std;
    return std * std * static_cast<double>(elements);
  }

  /// What is known of a row before its sums.
  TEMPFLOW_HD score_factors score_factors_of(index_t state, index_t row) const {
    return {log_prob_scale(transitions[state], elements, convention),
            has_reference ? kl_scale(transitions[state], objective.kl_over) : 0, old_log_probs[row]};
  }
  TEMPFLOW_HD policy_factors factors_of(index_t state, index_t row) const {
    return {score_factors_of(state, row), log_prob_slope(transitions[state], elements, convention),
            reference_slope(state), advantages[row], weights[row]};
  }

  /// Adds the objective's answer to a row, which the rounded slopes of its gradient complete.
  TEMPFLOW_HD void conclude(const surrogate& answer, double slope, double reference_slope,
                            double squared_residual, policy_row& row) const {
    row.surrogate = answer.loss;
    row.below = answer.below ? 1 : 0;
    row.above = answer.above ? 1 : 0;
    const double part = slope * slope * squared_residual;
    // That of c2 (v - v_ref): c2 is the derivative of a KL that is quadratic in v - v_ref.
    const double pull = 2 * gradient_factor * objective.kl_beta * row.kl * reference_slope;
    const bool finite = is_finite(answer.loss) && is_finite(row.log_ratio) && is_finite(slope) &&
                        is_finite(reference_slope) && !(part > overflowing) && !(pull > overflowing);
    row.finite = row.finite != 0 && finite ? 1 : 0;
    // Half of a normal's values are smaller than this share of their root mean square.
    constexpr double median = 0.6745;
    const double limit = vanishing / median;
    row.underflowed = part > 0 && part < limit * limit * static_cast<double>(elements) ? 1 : 0;
  }
};

}  // namespace tempflow::detail
