// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which steps of a chain are stochastic, or which are trained: lists of step indices.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/noise.hpp"

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

/// MixGRPO's progressive window: `size` steps that move by `stride` every `iterations_per_window` updates,
/// from the noisy end, and start over when they reach the clean end.
/// Source: MixGRPO, arXiv 2507.21802, section 3.3.
struct sliding_window {
  index_t size = 4;
  index_t stride = 1;
  index_t iterations_per_window = 25;

  /// Steps of the window at an update. Throws schedule_error for a window that does not fit the chain.
  std::vector<index_t> at(index_t update, index_t chain_steps) const {
    if (size < 1 || size > chain_steps || stride < 1 || iterations_per_window < 1 || update < 0) {
      throw schedule_error(detail::message("sliding_window: size ", size, ", stride ", stride, ", ",
                                           iterations_per_window, " updates a window, at update ", update,
                                           " of a chain of ", chain_steps, " steps"));
    }
    const index_t positions = (chain_steps - size) / stride + 1;
    return step_range((update / iterations_per_window) % positions * stride, size);
  }
};

/// Flow-GRPO-Fast's window: `size` steps from a start drawn uniformly in [first, last].
/// Source: flow_grpo, sde_window_size and sde_window_range.
struct random_window {
  index_t size = 2;
  index_t first = 0;
  index_t last = 5;

  /// Steps of the window drawn under a key. Throws schedule_error for a window that does not fit the chain.
  std::vector<index_t> at(noise_key key, index_t chain_steps) const {
    if (size < 1 || first < 0 || last < first || last + size > chain_steps) {
      throw schedule_error(detail::message("random_window: size ", size, ", start in [", first, ", ", last,
                                           "], chain of ", chain_steps, " steps"));
    }
    const auto start = uniform_choice(key, 0, static_cast<std::uint64_t>(last - first + 1));
    return step_range(first + static_cast<index_t>(start), size);
  }
};

}  // namespace tempflow
