// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// GRPO-Guard's objective: the clipped surrogate of a ratio that is centred and has the same spread at every step,
//
//   log r' = std (log r + mean((mu - mu_old)^2) / (2 std^2)) = mean(z (mu - mu_old)),   z = (y - mu_old) / std
//
// whose mean over the rollout's noise is 0, where that of log r is below 0. The second form is what is computed: from
// r = y - mu and v - v_old, without a difference of large numbers. Its gradient is that of log r', z held fixed.
//
// The paper's second part, a weight for each step that makes gradients equal over the steps, is guard_weights
// (timestep_weights.hpp), given as the batch's weights.
// Source: GRPO-Guard, arXiv 2510.22319, eqs. 8 to 12; verl-omni, diffusion_algos.py (compute_loss of grpo_guard).

#include "tempflow/core/numeric.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/row_objective.hpp"

namespace tempflow {

/// GRPO-Guard's clipped surrogate, a row_objective: needs v_old, and old log-probs for its statistics (log_ratio
/// and ratio are the plain ones).
struct grpo_guard {
  static constexpr row_needs needs{.old_velocity = true};

  clip_range clip = {2e-6, 2e-6};
  double advantage_clip = 5;  ///< advantages are clamped to +-this
  double kl_beta = 0;         ///< weight of the KL; 0 needs no reference velocity
  kl_denominator kl_over = kl_denominator::transition_variance;

  TEMPFLOW_HD row_loss operator()(const scored_row& row) const {
    const double of_crossed = row.step.beta / row.step.std, of_old = row.step.beta * of_crossed;
    const double centred = fused_multiply_add(of_crossed, row.mean.residual_old, of_old * row.mean.old);
    const clipped_grpo clipped{.clip = clip, .advantage_clip = advantage_clip};
    const surrogate answer = clipped(centred, row.advantage, row.weight);
    return {answer.loss,
            {.old = answer.slope * of_old, .residual_old = answer.slope * of_crossed},
            answer.below,
            answer.above};
  }

  /// Throws value_error for bounds that are negative or not finite.
  void validate() const {
    clipped_grpo{.clip = clip, .advantage_clip = advantage_clip, .kl_beta = kl_beta}.validate();
  }
};

}  // namespace tempflow
