// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How much each step's loss counts: one weight per step of the chain.
//
// The gradient of a Gaussian log-prob carries 1 / std, so unweighted training is dominated by the late,
// nearly deterministic steps. TempFlow-GRPO weights a step by its noise, w_i = std_i / mean(std), the mean
// taken over the trained steps so that the weights average to 1 and the balance of policy loss and KL is
// kept. Source: TempFlow-GRPO, arXiv 2508.04324, eqs. 7 and 8.

#include <span>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// Which steps' noise averages to weight 1.
enum class weight_normalization {
  trained_steps,  ///< TempFlow-GRPO's own: 2.2522 / 1.7260 / 1.5329 times std on SD3.5 / FLUX / Qwen-Image
  all_steps,      ///< every step of the chain
};

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
  check_step_list(trained_steps, steps.steps());
  if (trained_steps.empty()) throw schedule_error("noise_aware_weights: no trained steps");
  for (const index_t i : trained_steps) {
    if (!steps[i].stochastic()) {
      throw schedule_error(
          detail::message("noise_aware_weights: trained step ", i, " draws no noise (std = 0)"));
    }
  }
  const auto every_step = step_range(0, steps.steps());
  const std::span<const index_t> counted =
      over == weight_normalization::trained_steps ? trained_steps : std::span<const index_t>(every_step);
  double total = 0;
  for (const index_t i : counted) total += steps[i].std;
  std::vector<double> weights;
  for (const index_t i : every_step)
    weights.push_back(steps[i].std * static_cast<double>(counted.size()) / total);
  return weights;
}

}  // namespace tempflow
