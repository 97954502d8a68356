// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A batch of transitions to train on, and the scalars of the loss: all of it that is a number a row.
//
//   dL/dv = c1 r + c2 (v - v_ref):   slope_at() is c1, pull() is c2

#include <cmath>
#include <span>

#include "tempflow/config.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/objective/policy_statistics.hpp"
#include "tempflow/objective/surrogate.hpp"

namespace tempflow {

/// Transitions to train on: B rows, which may mix steps, branches and prompts.
template <storage_scalar T>
struct policy_batch {
  batch_view<const T> x;                  ///< B x D, states the model was evaluated at
  batch_view<const T> y;                  ///< B x D, states the rollout drew
  per_row<transition> transitions;        ///< one for all rows, or B
  std::span<const double> old_log_probs;  ///< B, of y under the rollout's policy
  std::span<const double> advantages;     ///< B
  per_row<double> weights = 1.0;          ///< timestep weights: one for all rows, or B
  log_prob_convention convention = {};    ///< of old_log_probs, and hence of the new ones
  index_t mean_over = 0;      ///< N; 0 takes B. Gradients accumulated over batches need their total.
  double gradient_scale = 1;  ///< multiplies dL/dv alone: loss scaling for 16-bit gradients
};

namespace detail {

/// The scalars of each row of a batch. Its arrays lie where the rows are computed.
template <class Objective>
struct policy_terms {
  per_row<transition> transitions;
  const double* old_log_probs;
  const double* advantages;
  per_row<double> weights;
  log_prob_convention convention;
  Objective objective;
  index_t elements;
  double gradient_factor;
  bool has_reference;

  /// dL/d(log-prob) at a log-ratio, with what makes it multiply r.
  TEMPFLOW_HD double slope_at(index_t i, double log_ratio) const {
    return slope_of(i, answer_at(i, log_ratio));
  }

  /// What multiplies v - v_ref.
  TEMPFLOW_HD double pull(index_t i) const {
    if (!has_reference) return 0;
    return objective.kl_beta * kl_slope(transitions[i], elements, objective.kl_over) * gradient_factor;
  }

  /// Fills in the numbers of row i from its sums of r^2 and (v - v_ref)^2, and returns the slope. Not a part of
  /// its callers, so that an objective has the same bits in all instruction sets of a host.
  TEMPFLOW_NOINLINE TEMPFLOW_HD double conclude(index_t i, double squared_residual, double squared_difference,
                                                policy_row& row) const {
    const transition& step = transitions[i];
    row = {};
    row.log_prob = gaussian_log_prob(squared_residual, step, elements, convention);
    row.log_ratio = row.log_prob - old_log_probs[i];
    row.ratio = std::exp(row.log_ratio);
    const surrogate answer = answer_at(i, row.log_ratio);
    row.surrogate = answer.loss;
    row.below = answer.below;
    row.above = answer.above;
    if (has_reference) row.kl = gaussian_kl(squared_difference, step, elements, objective.kl_over);
    row.finite = is_finite(squared_residual) && is_finite(answer.loss) && is_finite(row.kl);
    return slope_of(i, answer);
  }

 private:
  TEMPFLOW_HD surrogate answer_at(index_t i, double log_ratio) const {
    return objective(log_ratio, advantages[i], weights[i]);
  }
  TEMPFLOW_HD double slope_of(index_t i, const surrogate& answer) const {
    return answer.slope * log_prob_slope(transitions[i], elements, convention) * gradient_factor;
  }
};

}  // namespace detail
}  // namespace tempflow
