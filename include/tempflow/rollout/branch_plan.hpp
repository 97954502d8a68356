// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How TempFlow-GRPO explores: an ODE trunk a seed, K stochastic branches at chosen steps, each completed by
// the ODE, so that the reward of a finished sample credits exactly one step. And what that costs, before it
// runs. Source: TempFlow-GRPO, arXiv 2508.04324, section 3.2.

#include <algorithm>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// What a rollout takes.
struct rollout_cost {
  index_t model_evaluations = 0;  ///< rows given to the model
  index_t model_calls = 0;        ///< batched calls, with max_batch as the limit of each
  index_t sequential_calls = 0;   ///< calls if each step's branches were finished before the next step's
  index_t samples = 0;            ///< finished samples to score
  index_t bytes = 0;              ///< states, samples and log-probs kept
};

/// What to explore. Plain data; every field has the published default.
struct branch_plan {
  index_t seeds_per_prompt = 4;            ///< initial noises a prompt
  index_t explorations = 6;                ///< K branches at each branching step
  std::vector<index_t> branch_steps = {};  ///< ascending; empty: every step but the last
  index_t completion_steps = 0;  ///< Euler steps that finish a branch, at most; 0: all remaining steps
  index_t max_batch = 0;         ///< rows the model takes in a call; 0: any. Never changes a result
  bool finish_trunk = false;     ///< also carry the trunk to a finished sample a seed
  log_prob_convention convention = {};

  /// The branching steps on a chain.
  std::vector<index_t> steps_on(const chain& steps) const {
    return branch_steps.empty() ? step_range(0, steps.steps() - 1) : branch_steps;
  }

  /// Knots that a branch of step `branch_step` visits after it: branch_step + 1 to T. With completion_steps =
  /// m, m + 1 of them, spread evenly over the remaining grid.
  std::vector<index_t> completion_knots(index_t branch_step, index_t chain_steps) const {
    const index_t first = branch_step + 1, remaining = chain_steps - first;
    const index_t hops = completion_steps == 0 ? remaining : (std::min)(completion_steps, remaining);
    std::vector<index_t> knots{first};
    for (index_t i = 1; i <= hops; ++i) knots.push_back(first + (2 * i * remaining + hops) / (2 * hops));
    return knots;
  }

  /// Throws value_error for counts that make no sense, schedule_error for branching steps that are none, do
  /// not ascend or draw no noise.
  void validate(const chain& steps) const {
    const auto at_least = [](const char* name, index_t value, index_t least) {
      if (value < least) {
        throw value_error(detail::message("branch_plan: ", name, " = ", value, ", must be at least ", least));
      }
    };
    at_least("seeds_per_prompt", seeds_per_prompt, 1);
    at_least("explorations", explorations, 1);
    at_least("completion_steps", completion_steps, 0);
    at_least("max_batch", max_batch, 0);
    if (explorations > 65536) {
      throw value_error(
          detail::message("branch_plan: explorations = ", explorations, ", must be at most 65536"));
    }
    const auto branching = steps_on(steps);
    if (branching.empty()) {
      throw schedule_error(
          detail::message("branch_plan: no branching steps on a chain of ", steps.steps(), " steps"));
    }
    check_step_list(branching, steps.steps());
    for (const index_t i : branching) {
      if (!steps[i].stochastic()) {
        throw schedule_error(detail::message("branch_plan: branching step ", i, " draws no noise (std = 0)"));
      }
    }
  }

  /// Cost for `prompts` prompts of samples of `dimension` elements of `element_size` bytes.
  /// Full completion takes T_b + K sum_i (T - 1 - i) evaluations a seed. Throws as validate does.
  rollout_cost cost(const chain& steps, index_t prompts, index_t dimension = 0,
                    index_t element_size = 4) const {
    validate(steps);
    const auto branching = steps_on(steps);
    const index_t chain_steps = steps.steps(), seeds = prompts * seeds_per_prompt;
    const index_t trunk_steps = finish_trunk ? chain_steps : branching.back() + 1;
    const auto calls = [this](index_t rows) {
      return max_batch == 0 ? 1 : (rows + max_batch - 1) / max_batch;
    };

    std::vector<index_t> rows(static_cast<std::size_t>(chain_steps), 0);
    rollout_cost total;
    for (index_t j = 0; j < trunk_steps; ++j) {
      rows[static_cast<std::size_t>(j)] += seeds;
      total.sequential_calls += calls(seeds);
    }
    for (const index_t i : branching) {
      const auto knots = completion_knots(i, chain_steps);
      for (std::size_t k = 0; k + 1 < knots.size(); ++k) {
        rows[static_cast<std::size_t>(knots[k])] += seeds * explorations;
        total.sequential_calls += calls(seeds * explorations);
      }
    }
    for (const index_t n : rows) {
      total.model_evaluations += n;
      total.model_calls += n == 0 ? 0 : calls(n);
    }
    const index_t branch_points = seeds * static_cast<index_t>(branching.size());
    total.samples = branch_points * explorations;
    const index_t states = branch_points + 2 * total.samples + (finish_trunk ? seeds : 0);
    total.bytes = states * dimension * element_size + total.samples * static_cast<index_t>(sizeof(double));
    return total;
  }
};

}  // namespace tempflow
