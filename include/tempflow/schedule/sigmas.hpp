// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Sigma grids exactly as the field's models use them: descending noise levels, T + 1 knots, the last one 0.
// A grid is a plain std::vector<double>, so a grid of the user's own is as good as any of these.

#include <cmath>
#include <span>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// Static time shift k t / (1 + (k - 1) t), for k > 0; exactly 1 at t = 1. Source: Esser et al., arXiv
/// 2403.03206.
inline double static_shift(double t, double shift) { return shift * t / fused_multiply_add(shift, t, 1 - t); }

/// Exponential time shift e^mu / (e^mu + 1/t - 1), for t > 0. Source: diffusers,
/// FlowMatchEulerDiscreteScheduler.
inline double exponential_shift(double t, double mu) { return std::exp(mu) / (std::exp(mu) + (1 / t - 1)); }

/// The mu of FLUX's dynamic shift: linear in the token count through (first_tokens, first_shift) and
/// (last_tokens, last_shift). Source: diffusers, calculate_shift.
struct dynamic_shift {
  double first_tokens = 256, last_tokens = 4096;
  double first_shift = 0.5, last_shift = 1.15;

  double operator()(index_t image_tokens) const {
    const double slope = (last_shift - first_shift) / (last_tokens - first_tokens);
    return fused_multiply_add(slope, static_cast<double>(image_tokens) - first_tokens, first_shift);
  }
};

/// Throws schedule_error unless the grid has at least two knots, starts at 1 or below, descends strictly and
/// ends at 0 or above, all finite. The message names the knot.
inline void check_sigmas(std::span<const double> sigmas) {
  if (sigmas.size() < 2) {
    throw schedule_error(
        detail::message("sigmas: ", sigmas.size(), " knots, at least 2 are needed for a step"));
  }
  for (std::size_t i = 0; i < sigmas.size(); ++i) {
    if (!is_finite(sigmas[i]) || sigmas[i] < 0 || sigmas[i] > 1) {
      throw schedule_error(detail::message("sigmas[", i, "] = ", sigmas[i], ", must lie in [0, 1]"));
    }
    if (i > 0 && sigmas[i] >= sigmas[i - 1]) {
      throw schedule_error(detail::message("sigmas[", i, "] = ", sigmas[i], " does not descend from sigmas[",
                                           i - 1, "] = ", sigmas[i - 1]));
    }
  }
}

namespace detail {

inline void check_shift(const char* grid, double shift) {
  if (!is_finite(shift) || shift <= 0)
    throw value_error(message(grid, ": shift = ", shift, ", must be positive"));
}

inline void check_steps(const char* grid, index_t steps) {
  if (steps < 1) throw value_error(message(grid, ": steps = ", steps, ", at least 1 is needed"));
}

/// count points from first to last, both included and exact.
inline double linspace(double first, double last, index_t count, index_t i) {
  if (i == 0) return first;
  if (i == count - 1) return last;
  return first + (last - first) * static_cast<double>(i) / static_cast<double>(count - 1);
}

}  // namespace detail

/// Stable Diffusion 3: T points from 1 to shift(1/1000), shifted (the tail hence twice, as diffusers does),
/// then 0. Throws value_error for steps < 1. Source: diffusers, FlowMatchEulerDiscreteScheduler with a static
/// shift of 3.
inline std::vector<double> sd3_sigmas(index_t steps, double shift = 3, index_t training_timesteps = 1000) {
  detail::check_steps("sd3_sigmas", steps);
  detail::check_shift("sd3_sigmas", shift);
  const double smallest = static_shift(1 / static_cast<double>(training_timesteps), shift);
  std::vector<double> sigmas;
  for (index_t i = 0; i < steps; ++i) {
    sigmas.push_back(static_shift(detail::linspace(1, smallest, steps, i), shift));
  }
  sigmas.push_back(0);
  return sigmas;
}

/// FLUX.1: 1 to 1/T under the exponential shift for the image's token count (4,096 at 1,024 px), then 0.
/// Throws value_error for steps < 1.
/// Source: diffusers, FluxPipeline.
inline std::vector<double> flux_sigmas(index_t steps, index_t image_tokens = 4096, dynamic_shift shift = {}) {
  detail::check_steps("flux_sigmas", steps);
  const double mu = shift(image_tokens);
  std::vector<double> sigmas;
  for (index_t i = 0; i < steps; ++i) {
    sigmas.push_back(exponential_shift(detail::linspace(1, 1 / static_cast<double>(steps), steps, i), mu));
  }
  sigmas.push_back(0);
  return sigmas;
}

/// Qwen-Image: FLUX's form with (256, 0.5) to (8192, 0.9), then stretched so that the last knot before 0 is
/// `terminal`. Throws value_error for steps < 1.
/// Source: diffusers, QwenImagePipeline, stretch_shift_to_terminal.
inline std::vector<double> qwen_image_sigmas(index_t steps, index_t image_tokens = 1024,
                                             double terminal = 0.02) {
  detail::check_steps("qwen_image_sigmas", steps);
  auto sigmas = flux_sigmas(
      steps, image_tokens, {.first_tokens = 256, .last_tokens = 8192, .first_shift = 0.5, .last_shift = 0.9});
  const double last = sigmas[sigmas.size() - 2];
  if (steps == 1) return sigmas;  // the only knot is 1: nothing to stretch
  for (std::size_t i = 0; i + 1 < sigmas.size(); ++i) {
    sigmas[i] = 1 - (1 - sigmas[i]) * (1 - terminal) / (1 - last);
  }
  return sigmas;
}

/// DanceGRPO and MixGRPO: T + 1 points from 1 to 0 under the static shift. Throws value_error for steps < 1.
/// Source: DanceGRPO fastvideo/train_grpo_flux.py, sd3_time_shift.
inline std::vector<double> shifted_linspace_sigmas(index_t steps, double shift = 3) {
  detail::check_steps("shifted_linspace_sigmas", steps);
  detail::check_shift("shifted_linspace_sigmas", shift);
  std::vector<double> sigmas;
  for (index_t i = 0; i <= steps; ++i)
    sigmas.push_back(static_shift(detail::linspace(1, 0, steps + 1, i), shift));
  return sigmas;
}

}  // namespace tempflow
