// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Time shifts move the points of a grid toward its noisy end, and a model says by how much:
//
//   static        k t / (1 + (k - 1) t)         k is a constant of the model
//   exponential   e^mu / (e^mu + 1/t - 1)       mu depends on the number of tokens, and at times of steps
//   linear        mu / (mu + 1/t - 1)
//
// They are one family: the exponential shift by mu is the static one by e^mu, the linear one that by mu.

#include <cmath>

#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/schedule/detail/checks.hpp"

namespace tempflow {

/// Static time shift k t / (1 + (k - 1) t); exactly 0 at t = 0 and 1 at t = 1. Throws value_error for a t outside
/// [0, 1] or a shift k that is not positive. Source: Esser et al., arXiv 2403.03206.
inline double static_shift(double t, double shift) {
  detail::check_level("static_shift: t", t, 1);
  detail::check_positive("static_shift: shift", shift);
  return shift * t / fused_multiply_add(shift, t, 1 - t);
}

/// Exponential time shift e^mu / (e^mu + 1/t - 1); 0 at t = 0, exactly 1 at t = 1. Throws value_error for a t
/// outside [0, 1] or a mu outside [-100, 100]. Source: diffusers, FlowMatchEulerDiscreteScheduler, time_shift_type
/// "exponential".
inline double exponential_shift(double t, double mu) {
  detail::check_level("exponential_shift: t", t, 1);
  if (!is_finite(mu) || std::abs(mu) > 100) {
    throw value_error(detail::message("exponential_shift: mu = ", mu, ", must lie in [-100, 100]"));
  }
  return t == 0 ? 0.0 : std::exp(mu) / (std::exp(mu) + (1 / t - 1));
}

/// Linear time shift mu / (mu + 1/t - 1); 0 at t = 0, exactly 1 at t = 1. Throws value_error for a t outside
/// [0, 1] or a mu that is not positive. Source: diffusers, FlowMatchEulerDiscreteScheduler, time_shift_type
/// "linear".
inline double linear_shift(double t, double mu) {
  detail::check_level("linear_shift: t", t, 1);
  detail::check_positive("linear_shift: mu", mu);
  return t == 0 ? 0.0 : mu / (mu + (1 / t - 1));
}

/// A mu that is linear in the token count through (first_tokens, first_shift) and (last_tokens, last_shift), and
/// goes on beyond both. The defaults are FLUX.1's. Source: diffusers, calculate_shift.
struct dynamic_shift {
  double first_tokens = 256, last_tokens = 4096;
  double first_shift = 0.5, last_shift = 1.15;

  /// mu for image_tokens latent patches. Throws value_error for fewer than one, or a line that is not one: equal
  /// token counts, or a field that is not finite.
  double operator()(index_t image_tokens) const {
    detail::check_count("dynamic_shift: image_tokens", image_tokens, 1);
    const double slope = (last_shift - first_shift) / (last_tokens - first_tokens);
    const double mu =
        fused_multiply_add(slope, static_cast<double>(image_tokens) - first_tokens, first_shift);
    if (first_tokens == last_tokens || !is_finite(mu)) {
      throw value_error(detail::message("dynamic_shift: no line through (", first_tokens, ", ", first_shift,
                                        ") and (", last_tokens, ", ", last_shift, ")"));
    }
    return mu;
  }
};

/// FLUX.2's mu: linear in the tokens for 10 and for 200 steps, and linear in the steps between the two; beyond
/// 4,300 tokens that of 200 steps, whatever the steps. Throws value_error for fewer than one token or step.
/// Source: diffusers, Flux2Pipeline, compute_empirical_mu.
inline double flux_2_mu(index_t image_tokens, index_t steps) {
  detail::check_count("flux_2_mu: image_tokens", image_tokens, 1);
  detail::check_count("flux_2_mu: steps", steps, 1);
  const auto tokens = static_cast<double>(image_tokens);
  const double of_200_steps = fused_multiply_add(0.00016927, tokens, 0.45666666);
  if (image_tokens > 4300) return of_200_steps;
  const double of_10_steps = fused_multiply_add(8.73809524e-05, tokens, 1.89833333);
  const double slope = (of_200_steps - of_10_steps) / (200 - 10);
  return fused_multiply_add(slope, static_cast<double>(steps) - 200, of_200_steps);
}

}  // namespace tempflow
