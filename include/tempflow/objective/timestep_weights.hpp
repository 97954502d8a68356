// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How much each step's loss counts: one weight per step of the chain.
//
// The gradient of a Gaussian log-prob carries 1 / std, so unweighted training is dominated by the late,
// nearly deterministic steps. TempFlow-GRPO weights a step by its noise, w_i = std_i / mean(std), the mean
// taken over the trained steps so that the weights average to 1 and the balance of policy loss and KL is
// kept. Source: TempFlow-GRPO, arXiv 2508.04324, eqs. 7 and 8. Others divide out all of |beta| / std, or 1 / dt:
//
//   noise_aware_weights    w = std          gradients keep the step's length, |beta|
//   flat_gradient_weights  w = std / |beta| gradients of one size at every step
//   guard_weights          w = 1 / dt       for GRPO-Guard's ratio, whose gradient keeps |beta|

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// What weights are scaled to. Their scale is that of the policy loss beside the KL's.
enum class weight_normalization {
  trained_steps,  ///< mean 1 over these: TempFlow-GRPO's 2.2522, 1.7260 and 1.5329 std on SD3.5, FLUX and Qwen-Image
  all_steps,  ///< mean 1 over every step of the chain
  none,       ///< as the formula gives them
};

namespace detail {

/// Throws schedule_error when trained steps are none, do not ascend, or draw no noise.
inline void check_weighted_steps(std::string_view function, const chain& steps,
                                 std::span<const index_t> trained_steps) {
  check_step_list(trained_steps, steps.steps());
  if (trained_steps.empty()) throw schedule_error(message(function, ": no trained steps"));
  for (const index_t i : trained_steps) {
    if (!steps[i].stochastic()) {
      throw schedule_error(message(function, ": trained step ", i, " draws no noise (std = 0)"));
    }
  }
}

/// The weights over their mean over some steps. Throws value_error where that is 0 or overflows.
inline std::vector<double> normalized_weights(std::string_view function, std::vector<double> weights,
                                              std::span<const index_t> trained_steps,
                                              weight_normalization over) {
  if (over == weight_normalization::none) return weights;
  const auto every_step = step_range(0, static_cast<index_t>(weights.size()));
  const std::span<const index_t> counted =
      over == weight_normalization::trained_steps ? trained_steps : std::span<const index_t>(every_step);
  double total = 0;
  for (const index_t i : counted) total += weights[static_cast<std::size_t>(i)];
  if (!is_finite(total) || total == 0) {
    throw value_error(message(function, ": the sum over ", counted.size(), " steps is ", total,
                              ", which no mean of 1 can be made of"));
  }
  for (double& weight : weights) weight = weight * static_cast<double>(counted.size()) / total;
  return weights;
}

}  // namespace detail

/// Weight 1 for every step of a chain: Flow-GRPO.
inline std::vector<double> uniform_weights(const chain& steps) {
  return std::vector<double>(static_cast<std::size_t>(steps.steps()), 1.0);
}

/// Weights proportional to each step's noise, with mean 1. One entry per step of the chain, also for steps
/// that are not trained.
/// Throws schedule_error when trained steps are none, do not ascend, or draw no noise.
inline std::vector<double> noise_aware_weights(
    const chain& steps, std::span<const index_t> trained_steps,
    weight_normalization over = weight_normalization::trained_steps) {
  detail::check_weighted_steps("noise_aware_weights", steps, trained_steps);
  std::vector<double> weights;
  for (const transition& step : steps.transitions()) weights.push_back(step.std);
  return detail::normalized_weights("noise_aware_weights", std::move(weights), trained_steps, over);
}

/// Weights proportional to std / |beta|, which gives the policy's gradient in v one size at every step: on policy
/// that is w |A| |beta| / std |z| / D. One entry per step of the chain; 0 for one without noise, and for an untrained
/// one without beta.
/// Source: the rectification of Flash-GRPO, arXiv 2605.15980; LongCat-Video, arXiv 2510.22200.
/// Throws schedule_error when trained steps are none, do not ascend, draw no noise, or have beta = 0.
inline std::vector<double> flat_gradient_weights(
    const chain& steps, std::span<const index_t> trained_steps,
    weight_normalization over = weight_normalization::trained_steps) {
  detail::check_weighted_steps("flat_gradient_weights", steps, trained_steps);
  for (const index_t i : trained_steps) {
    if (steps[i].beta == 0) {
      throw schedule_error(
          detail::message("flat_gradient_weights: trained step ", i, " has no gradient (beta = 0)"));
    }
  }
  std::vector<double> weights;
  for (const transition& step : steps.transitions())
    weights.push_back(step.beta == 0 ? 0 : step.std / std::abs(step.beta));
  return detail::normalized_weights("flat_gradient_weights", std::move(weights), trained_steps, over);
}

/// Which of GRPO-Guard's weights.
enum class guard_weight {
  inverse_dt,  ///< 1 / dt (its code for Flow-GRPO)
  langevin,  ///< (1 + g^2 (1 - sigma) / (2 sigma)) / dt with the chain's g, eta of dance_sde (eq. 12, for DanceGRPO)
};

/// GRPO-Guard's weights, which it multiplies the loss of its normalised ratio by. One entry per step of the chain.
/// They are published as they are, of a mean near the number of steps: with a KL, or a learning rate that was found
/// with weights of mean 1, take weight_normalization::trained_steps.
/// Source: GRPO-Guard, arXiv 2510.22319.
/// Throws schedule_error when trained steps are none, do not ascend, or draw no noise.
inline std::vector<double> guard_weights(const chain& steps, std::span<const index_t> trained_steps,
                                         guard_weight form = guard_weight::inverse_dt,
                                         weight_normalization over = weight_normalization::none) {
  detail::check_weighted_steps("guard_weights", steps, trained_steps);
  std::vector<double> weights;
  for (const transition& step : steps.transitions()) {
    const double drift = step.diffusion * step.diffusion * (1 - step.sigma) / (2 * step.sigma);
    weights.push_back((form == guard_weight::langevin ? 1 + drift : 1) / step.dt);
  }
  return detail::normalized_weights("guard_weights", std::move(weights), trained_steps, over);
}

/// Weights of one's own, checked: one per step of the chain. Those of untrained steps are read by no loss.
/// Throws shape_error for another number of weights than steps; value_error for one that is negative or not finite,
/// or when all trained steps have weight 0; schedule_error when trained steps are none, do not ascend, or draw no
/// noise.
inline std::vector<double> given_weights(const chain& steps, std::span<const index_t> trained_steps,
                                         std::span<const double> weights,
                                         weight_normalization over = weight_normalization::none) {
  detail::check_weighted_steps("given_weights", steps, trained_steps);
  if (static_cast<index_t>(weights.size()) != steps.steps()) {
    throw shape_error(detail::message("given_weights: ", weights.size(), " weights, the chain has ",
                                      steps.steps(), " steps"));
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!is_finite(weights[i]) || weights[i] < 0) {
      throw value_error(detail::message("given_weights: weights[", i, "] = ", weights[i],
                                        ", must be finite and not negative"));
    }
  }
  if (std::ranges::all_of(trained_steps,
                          [&](index_t i) { return weights[static_cast<std::size_t>(i)] == 0; })) {
    throw value_error("given_weights: all trained steps have weight 0");
  }
  return detail::normalized_weights("given_weights", {weights.begin(), weights.end()}, trained_steps, over);
}

}  // namespace tempflow
