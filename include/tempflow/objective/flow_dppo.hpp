// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Flow-DPPO's objective: no clip of the ratio, but rows that are far from the rollout's policy, measured by the KL
// between the two transitions, may only come back:
//
//   L = -w A r,   0 where KL >= bound and the gradient would take r further from 1 (A > 0, r > 1 or A < 0, r < 1)
//   KL = mean((mu - mu_old)^2) / (2 std^2)
//
// Source: verl-omni, diffusion_algos.py (flow_dppo); UniRL, unirl/algorithms/flowdppo.py.

#include <cmath>

#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/row_objective.hpp"

namespace tempflow {

/// Flow-DPPO's masked surrogate, a row_objective: needs v_old. below and above are rows that were masked on these sides.
struct flow_dppo {
  static constexpr row_needs needs{.old_velocity = true};

  double divergence_bound = 1e-5;
  kl_denominator divergence_over = kl_denominator::transition_variance;
  double advantage_clip = 5;  ///< advantages are clamped to +-this
  double kl_beta = 0;         ///< weight of the KL to the reference; 0 needs no reference velocity
  kl_denominator kl_over = kl_denominator::transition_variance;

  TEMPFLOW_HD row_loss operator()(const scored_row& row) const {
    if (row.advantage * row.weight == 0) return {};  // whatever the ratio
    const double ratio = std::exp(row.log_ratio);
    const double divergence = kl_scale(row.step, divergence_over) * row.mean.old;
    const clipped_grpo unclipped{.clip = {1, positive_infinity}, .advantage_clip = advantage_clip};
    const surrogate answer = unclipped(row.log_ratio, row.advantage, row.weight);
    const bool is_far = !(divergence < divergence_bound);
    const bool below = is_far && row.advantage < 0 && ratio < 1,
               above = is_far && row.advantage > 0 && ratio > 1;
    if (below || above) return {0, {}, below, above};
    return {answer.loss, {.log_ratio = answer.slope}};
  }

  /// Throws value_error for bounds that are negative or not finite.
  void validate() const {
    clipped_grpo{.advantage_clip = advantage_clip, .kl_beta = kl_beta}.validate();
    if (!is_finite(divergence_bound) || divergence_bound < 0) {
      throw value_error(detail::message("flow_dppo: divergence_bound = ", divergence_bound,
                                        ", must be finite and not negative"));
    }
  }
};

}  // namespace tempflow
