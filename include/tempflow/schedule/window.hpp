// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which steps of a chain are stochastic, or which are trained: lists of step indices.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// Steps first, ..., first + size - 1.
inline std::vector<index_t> step_range(index_t first, index_t size) {
  std::vector<index_t> steps;
  for (index_t i = 0; i < size; ++i) steps.push_back(first + i);
  return steps;
}

/// Throws schedule_error unless the steps ascend strictly within [0, chain_steps).
inline void check_step_list(std::span<const index_t> steps, index_t chain_steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] < 0 || steps[i] >= chain_steps || (i > 0 && steps[i] <= steps[i - 1])) {
      throw schedule_error(detail::message("steps[", i, "] = ", steps[i], ": steps must ascend within [0, ",
                                           chain_steps, ")"));
    }
  }
}

/// MixGRPO's progressive window: `size` steps that move by `stride` every `updates_per_window` updates,
/// from the noisy end, and start over when they reach the clean end.
/// Source: MixGRPO, arXiv 2507.21802, section 3.3.
struct sliding_window {
  index_t size = 4;
  index_t stride = 1;
  index_t updates_per_window = 25;

  /// Steps of the window at an update. Throws schedule_error for a window that does not fit the chain.
  std::vector<index_t> at(index_t update, index_t chain_steps) const {
    if (size < 1 || size > chain_steps || stride < 1 || updates_per_window < 1 || update < 0) {
      throw schedule_error(detail::message("sliding_window: size ", size, ", stride ", stride, ", ",
                                           updates_per_window, " updates per window, at update ", update,
                                           " of a chain of ", chain_steps, " steps"));
    }
    const index_t positions = (chain_steps - size) / stride + 1;
    return step_range((update / updates_per_window) % positions * stride, size);
  }
};

/// Flow-GRPO-Fast's window: `size` steps at a place drawn uniformly within steps first to last - 1.
/// Source: flow_grpo, sde_window_size and sde_window_range.
struct random_window {
  index_t size = 2;
  index_t first = 0;
  index_t last = 5;

  /// Steps of the window drawn under a key. Throws schedule_error for a range that the window or the chain
  /// does not fit.
  std::vector<index_t> at(noise_key key, index_t chain_steps) const {
    if (size < 1 || first < 0 || last > chain_steps || first > last - size) {
      throw schedule_error(detail::message("random_window: size ", size, " within steps [", first, ", ", last,
                                           ") of a chain of ", chain_steps, " steps"));
    }
    const auto places = static_cast<std::uint64_t>(last - size - first + 1);
    return step_range(first + static_cast<index_t>(uniform_choice(key, 0, places)), size);
  }
};

/// `count` different steps, drawn one after another with probabilities proportional to `weights` (one per
/// step of the chain; a step of weight 0 is never drawn), ascending. Throws value_error for a weight that is
/// negative or not finite, or fewer positive weights than `count`.
inline std::vector<index_t> draw_steps(std::span<const double> weights, index_t count, noise_key key) {
  index_t positive = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!is_finite(weights[i]) || weights[i] < 0) {
      throw value_error(
          detail::message("draw_steps: weights[", i, "] = ", weights[i], ", must not be negative"));
    }
    positive += weights[i] > 0 ? 1 : 0;
  }
  if (count < 1 || count > positive) {
    throw value_error(
        detail::message("draw_steps: count = ", count, " of ", positive, " steps of positive weight"));
  }
  // The smallest of exponential clocks with these rates (Efraimidis and Spirakis, 2006).
  std::vector<std::pair<double, index_t>> clocks;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto bits = uniform_choice(key, static_cast<std::uint32_t>(i), std::uint64_t{1} << 53);
    const double uniform = (static_cast<double>(bits) + 0.5) * 0x1p-53;
    if (weights[i] > 0) clocks.emplace_back(-std::log(uniform) / weights[i], static_cast<index_t>(i));
  }
  std::sort(clocks.begin(), clocks.end());
  std::vector<index_t> steps;
  for (index_t k = 0; k < count; ++k) steps.push_back(clocks[static_cast<std::size_t>(k)].second);
  std::sort(steps.begin(), steps.end());
  return steps;
}

}  // namespace tempflow
