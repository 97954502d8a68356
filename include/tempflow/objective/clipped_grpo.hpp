// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The clipped GRPO objective, with r = exp(log-ratio) and A the advantage clamped to +-advantage_clip:
//
//   L = w max(-A r, -A clip(r, 1 - low, 1 + high)),   w >= 0
//   dL/dlog r = -w A r   where the first branch is active, else 0
//
// On the edge of the clip range both branches agree and the whole gradient flows; autograd of PyTorch 2.15 gives
// half of it there.
// Source: Flow-GRPO, arXiv 2505.05470, scripts/train_sd3.py; TempFlow-GRPO, arXiv 2508.04324, eqs. 7 and 8
// (the weight).

#include <cmath>

#include "tempflow/objective/surrogate.hpp"

namespace tempflow {

/// Trust region [1 - low, 1 + high] of the ratio. Different bounds give the asymmetric clip ("clip higher").
struct clip_range {
  double low = 1e-4;
  double high = 1e-4;
};

/// PPO's clipped surrogate as GRPO uses it, with a KL penalty to a reference policy.
struct clipped_grpo {
  clip_range clip = {};
  double advantage_clip = 5;  ///< advantages are clamped to +-this
  double kl_beta = 0;         ///< weight of the KL; 0 needs no reference velocity
  kl_denominator kl_over = kl_denominator::transition_variance;

  TEMPFLOW_HD surrogate operator()(double log_ratio, double advantage, double weight) const {
    const double ratio = std::exp(log_ratio);
    const bool below = ratio<1 - clip.low, above = ratio> 1 + clip.high;
    const double clamped = advantage > advantage_clip    ? advantage_clip
                           : advantage < -advantage_clip ? -advantage_clip
                                                         : advantage;
    const double gain = weight * clamped;
    const double bounded = below ? 1 - clip.low : above ? 1 + clip.high : ratio;
    const bool active = -gain * ratio >= -gain * bounded;
    return {.loss = -gain * (active ? ratio : bounded),
            .slope = active && gain != 0 ? -gain * ratio : 0.0,
            .below = below,
            .above = above};
  }

  /// Throws value_error for bounds that are negative or not finite.
  void validate() const {
    const auto check_bound = [](const char* name, double value) {
      if (!is_finite(value) || value < 0) {
        throw value_error(
            detail::message("clipped_grpo: ", name, " = ", value, ", must be finite and not negative"));
      }
    };
    check_bound("clip.low", clip.low);
    check_bound("clip.high", clip.high);
    check_bound("advantage_clip", advantage_clip);
    check_bound("kl_beta", kl_beta);
  }
};

}  // namespace tempflow
