// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The clipped objective with a bound for bad samples: where A < 0 a ratio far above 1 makes the loss of clipped_grpo as
// large as it likes, and here it ends at -A c:
//
//   L = w min(max(-A r, -A clip(r, 1 - low, 1 + high)), -A c)   for A < 0
//
// Source: dual-clip PPO, arXiv 1912.09729, eq. 10; RLinf, rlinf/algorithms/losses.py.

#include "tempflow/objective/clipped_grpo.hpp"

namespace tempflow {

/// clipped_grpo whose ratio counts up to `max_ratio` where the advantage is negative. A policy_objective.
struct dual_clipped_grpo {
  clip_range clip = {};
  double max_ratio = 3;       ///< c, above 1 + clip.high
  double advantage_clip = 5;  ///< advantages are clamped to +-this
  double kl_beta = 0;         ///< weight of the KL; 0 needs no reference velocity
  kl_denominator kl_over = kl_denominator::transition_variance;

  TEMPFLOW_HD surrogate operator()(double log_ratio, double advantage, double weight) const {
    const clipped_grpo clipped{.clip = clip, .advantage_clip = advantage_clip};
    surrogate answer = clipped(log_ratio, advantage, weight);
    if (advantage < 0 && std::exp(log_ratio) > max_ratio) {
      const double gain = weight * (advantage < -advantage_clip ? -advantage_clip : advantage);
      answer.loss = -gain * max_ratio, answer.slope = 0;
    }
    return answer;
  }

  /// Throws value_error for bounds that are negative, not finite, or not in order.
  void validate() const {
    clipped_grpo{.clip = clip, .advantage_clip = advantage_clip, .kl_beta = kl_beta}.validate();
    if (!is_finite(max_ratio) || max_ratio <= 1 + clip.high) {
      throw value_error(detail::message("dual_clipped_grpo: max_ratio = ", max_ratio,
                                        ", must be above 1 + clip.high = ", 1 + clip.high));
    }
  }
};

}  // namespace tempflow
