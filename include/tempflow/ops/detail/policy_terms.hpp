// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The scalars of the loss: all of it that is a number per row.
//
//   dL/dv = c1 r + c2 (v - v_ref):   slope_of() is c1, reference_slope() is c2
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

/// The scalars of each row of a batch. Table: how values per row are found where the rows are computed.
template <class Objective, template <class> class Table = per_row>
struct policy_terms {
  Table<transition> transitions;
  Table<double> old_log_probs, advantages, weights;
  log_prob_convention convention;
  Objective objective;
  index_t elements;
  double gradient_factor;
  bool has_reference;

  /// What multiplies v - v_ref.
  TEMPFLOW_HD double reference_slope(index_t i) const {
    if (!has_reference) return 0;
    return objective.kl_beta * kl_slope(transitions[i], elements, objective.kl_over) * gradient_factor;
  }

  /// What multiplies r, by the objective's answer. Not a part of its callers, so that it has the same bits in
  /// all instruction sets of a host, and so has score().
  TEMPFLOW_NOINLINE TEMPFLOW_HD double slope_of(index_t i, const surrogate& answer) const {
    return slope_of(log_prob_slope(transitions[i], elements, convention), answer);
  }
  TEMPFLOW_HD double slope_of(double slope, const surrogate& answer) const {
    return answer.slope * slope * gradient_factor;
  }

  /// The numbers of row i from its sums of r^2 and (v - v_ref)^2, but for the objective's.
  TEMPFLOW_NOINLINE TEMPFLOW_HD policy_row score(index_t i, double squared_residual,
                                                 double squared_difference) const {
    const score_factors factors = score_factors_of(i);
    // By the function that sampling calls, compiled once: on policy the ratio is exactly 1.
    const double log_prob = gaussian_log_prob(squared_residual, transitions[i], elements, convention);
    return score(factors, log_prob, squared_residual, squared_difference);
  }
  TEMPFLOW_HD policy_row score(const score_factors& factors, double log_prob, double squared_residual,
                               double squared_difference) const {
    policy_row row;
    row.log_prob = log_prob;
    row.log_ratio = row.log_prob - factors.old_log_prob;
    row.ratio = std::exp(row.log_ratio);
    if (has_reference) row.kl = gaussian_kl(squared_difference, factors.kl_scale, elements);
    row.finite = is_finite(squared_residual) && is_finite(row.kl);
    return row;
  }

  /// What is known of row i before its sums.
  TEMPFLOW_HD score_factors score_factors_of(index_t i) const {
    return {log_prob_scale(transitions[i], elements, convention),
            has_reference ? kl_scale(transitions[i], objective.kl_over) : 0, old_log_probs[i]};
  }
  TEMPFLOW_HD policy_factors factors_of(index_t i) const {
    return {score_factors_of(i), log_prob_slope(transitions[i], elements, convention), reference_slope(i),
            advantages[i], weights[i]};
  }

  /// Adds the objective's answer to a row.
  TEMPFLOW_HD static void conclude(const surrogate& answer, policy_row& row) {
    row.surrogate = answer.loss;
    row.below = answer.below;
    row.above = answer.above;
    row.finite = row.finite && is_finite(answer.loss);
  }
};

}  // namespace tempflow::detail
