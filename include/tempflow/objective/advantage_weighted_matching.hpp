// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Advantage-weighted matching (AWM) and flow-matching policy optimisation (FPO): the flow-matching loss of a finished
// sample stands in for its log-prob,
//
//   log p = -w(t) mean(e^2),   e = v - (z - x0) at x_t = (1 - t) x0 + t z
//
// and its ratio goes through the clipped surrogate. With y = x0 and clean_transition(t) the residual is t e, so a
// row's log-prob with log_prob_terms::squared_error is -t^2 mean(e^2): old_log_probs are these, at the same t and
// z, from log_prob with the rollout policy's velocity. On policy the ratio is exactly 1. Source: AWM, arXiv
// 2509.25050; Flow-Factory, trainers/awm.py (the forms of w); FPO, arXiv 2507.21053, eq. 8 (uniform).

#include <cmath>

#include "tempflow/core/numeric.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/row_objective.hpp"

namespace tempflow {

/// How a flow-matching loss m = mean(e^2) becomes a log-prob.
enum class matching_weight {
  uniform,       ///< -m: FPO
  time,          ///< -t m
  time_squared,  ///< -t^2 m
  huber,         ///< -t (sqrt(m + 1e-10) - 1e-5)
  quartic_root,  ///< -4 t ((m + 1e-10)^(1/4) - 1e-10^(1/4)): Flow-Factory's ghuber
};

/// AWM's loss, a row_objective: needs old log-probs that are squared errors, and batches with y = x0 and
/// clean_transition, in fp32 where t is small: the rounding of x_t counts 1/t times. log_ratio and ratio of its
/// rows are those of the squared errors.
struct advantage_weighted_matching {
  static constexpr row_needs needs{.squared_error = true, .finished = true};

  clip_range clip = {1e-5, 1e-5};
  matching_weight weight = matching_weight::uniform;
  double advantage_clip = 5;  ///< advantages are clamped to +-this
  double kl_beta = 0;         ///< weight of mean((v - v_ref)^2); 0 needs no reference velocity
  kl_denominator kl_over = kl_denominator::velocity;

  TEMPFLOW_HD row_loss operator()(const scored_row& row) const {
    const double t = -row.step.beta, squared = t * t;
    double log_ratio = 0, slope = 0;  // slope: of the log-ratio by that of the squared errors
    if (weight == matching_weight::huber || weight == matching_weight::quartic_root) {
      const double m = fused_multiply_add(-1 / squared, row.log_prob, smooth);
      const double m_old = fused_multiply_add(1 / squared, row.log_ratio - row.log_prob, smooth);
      const double root = std::sqrt(m), root_old = std::sqrt(m_old);
      const bool again = weight == matching_weight::quartic_root;
      log_ratio = again ? 4 * t * (std::sqrt(root_old) - std::sqrt(root)) : t * (root_old - root);
      slope = again ? t / (root * std::sqrt(root) * squared) : t / (2 * root * squared);
    } else {
      const double of_error = weight == matching_weight::uniform ? 1
                              : weight == matching_weight::time  ? t
                                                                 : squared;
      slope = of_error / squared;
      log_ratio = slope * row.log_ratio;
    }
    const clipped_grpo clipped{.clip = clip, .advantage_clip = advantage_clip};
    const surrogate answer = clipped(log_ratio, row.advantage, row.weight);
    return {answer.loss, {.log_ratio = answer.slope * slope}, answer.below, answer.above};
  }

  /// Throws value_error for bounds that are negative or not finite.
  void validate() const {
    clipped_grpo{.clip = clip, .advantage_clip = advantage_clip, .kl_beta = kl_beta}.validate();
  }

 private:
  static constexpr double smooth = 1e-10;  ///< Flow-Factory's
};

}  // namespace tempflow
