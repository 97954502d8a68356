// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Log-probability of a transition, from the sum of squares of its residual r = y - alpha x - beta v:
//
//   log p = -mean(r^2) / (2 std^2) - log std - log(2 pi) / 2     (mean over the D elements)
//   d log p / dv_e = beta r_e / (D std^2)
//
// With the mean, a log-ratio is D times smaller than the true one: this is why clip ranges are about 1e-4.
// Source: flow_grpo/diffusers_patch/sd3_sde_with_logprob.py; docs/maths.md.

#include <cmath>
#include <numbers>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow {

/// How a log-density over D elements becomes one number.
enum class log_prob_reduction {
  mean,  ///< averaged over the elements: the field's convention
  sum,   ///< the log-density of the whole sample
};

/// Which terms of the Gaussian log-density are kept. The first two give the same ratios.
enum class log_prob_terms {
  all,                ///< -r^2 / (2 std^2) - log std - log(2 pi) / 2
  without_constants,  ///< -r^2 / (2 std^2)
  squared_error,      ///< -r^2, Flow-CPS's convention: a log-ratio 2 std^2 times the Gaussian's
};

/// The convention a log-prob was computed in. Old and new log-probs of a ratio must share it.
struct log_prob_convention {
  log_prob_reduction reduction = log_prob_reduction::mean;
  log_prob_terms terms = log_prob_terms::all;

  friend constexpr bool operator==(log_prob_convention, log_prob_convention) = default;
};

/// What sum(r^2) is divided by: 2 std^2 D in the field's convention.
TEMPFLOW_HD constexpr double log_prob_divisor(const transition& step, index_t elements,
                                              log_prob_convention convention) {
  const double divisor = convention.terms == log_prob_terms::squared_error ? 1 : 2 * step.std * step.std;
  return convention.reduction == log_prob_reduction::mean ? divisor * static_cast<double>(elements) : divisor;
}

/// What a log-prob takes beside its sum of squares.
struct log_prob_scale {
  double divisor;   ///< of the sum
  double constant;  ///< log std + log(2 pi) / 2, or 0 where constants are left out
  double times;     ///< how often it counts

  TEMPFLOW_HD log_prob_scale(const transition& step, index_t elements, log_prob_convention convention)
      : divisor(log_prob_divisor(step, elements, convention)),
        constant(convention.terms == log_prob_terms::all
                     ? std::log(step.std) + 0.5 * std::log(2 * std::numbers::pi)
                     : 0),
        times(convention.reduction == log_prob_reduction::mean ? 1 : static_cast<double>(elements)) {}

  /// A quotient and an explicit multiply-add: nothing that a compiler could round differently in rollout and
  /// training, so equal inputs give equal bits.
  TEMPFLOW_HD double log_prob(double squared_residual) const {
    return fused_multiply_add(-constant, times, -(squared_residual / divisor));
  }
};

/// Log-prob of a transition whose squared residuals add up to `squared_residual` over `elements` elements.
/// Compiled apart from its callers, for the same reason.
TEMPFLOW_NOINLINE TEMPFLOW_HD inline double gaussian_log_prob(double squared_residual, const transition& step,
                                                              index_t elements,
                                                              log_prob_convention convention = {}) {
  return log_prob_scale(step, elements, convention).log_prob(squared_residual);
}

/// c with d log p / dv_e = c r_e.
TEMPFLOW_HD constexpr double log_prob_slope(const transition& step, index_t elements,
                                            log_prob_convention convention = {}) {
  return 2 * step.beta / log_prob_divisor(step, elements, convention);
}

}  // namespace tempflow
