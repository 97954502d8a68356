// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How TempFlow-GRPO explores: an ODE trunk per seed, K stochastic branches at chosen steps, each completed by
// the ODE, so that the reward of a finished sample credits exactly one step. And what that costs, before it
// runs. Source: TempFlow-GRPO, arXiv 2508.04324, section 3.2.

#include <algorithm>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/rollout/rollout_cost.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// What to explore. Plain data; every field has the published default.
struct branch_plan {
  index_t seeds_per_prompt = 4;            ///< initial noises per prompt
  index_t explorations = 6;                ///< K branches at each branching step
  std::vector<index_t> branch_steps = {};  ///< ascending; empty: the chain's trainable_steps()
  index_t completion_steps = 0;  ///< Euler steps that finish a branch, at most; 0: all remaining steps
  index_t max_batch = 0;         ///< rows the model takes in a call; 0: any. Never changes a result
  bool finish_trunk = false;     ///< also carry the trunk to a finished sample per seed
  log_prob_convention convention = {};

  /// The branching steps on a chain.
  std::vector<index_t> steps_on(const chain& steps) const {
    return branch_steps.empty() ? steps.trainable_steps() : branch_steps;
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

  /// Rows of `seeds` trajectories that stand at each step of a chain: one call of the model for each.
  std::vector<index_t> rows_at(const chain& steps, index_t seeds) const {
    const auto branching = steps_on(steps);
    std::vector<index_t> rows(static_cast<std::size_t>(steps.steps()), 0);
    const index_t trunk_steps = finish_trunk ? steps.steps() : branching.back() + 1;
    for (index_t j = 0; j < trunk_steps; ++j) rows[static_cast<std::size_t>(j)] += seeds;
    for (const index_t i : branching) {
      const auto knots = completion_knots(i, steps.steps());
      for (std::size_t k = 0; k + 1 < knots.size(); ++k) {
        rows[static_cast<std::size_t>(knots[k])] += seeds * explorations;
      }
    }
    return rows;
  }

  /// Cost for `prompts` prompts of samples of `dimension` elements of `element_size` bytes.
  /// Full completion takes T_b + K sum_i (T - 1 - i) evaluations per seed. Throws as validate does, and
  /// value_error for counts that are not positive or overflow.
  rollout_cost cost(const chain& steps, index_t prompts, index_t dimension = 0,
                    index_t element_size = 4) const {
    validate(steps);
    const auto branching = steps_on(steps);
    const index_t chain_steps = steps.steps(), points = static_cast<index_t>(branching.size());
    detail::check_rollout_size("branch_plan", prompts, seeds_per_prompt,
                               chain_steps * (1 + points * explorations), dimension, element_size);
    const index_t seeds = prompts * seeds_per_prompt;
    const index_t trunk_steps = finish_trunk ? chain_steps : branching.back() + 1;
    rollout_cost total{.sequential_calls = trunk_steps * detail::calls_for(seeds, max_batch)};
    for (const index_t i : branching) {
      const auto hops = static_cast<index_t>(completion_knots(i, chain_steps).size()) - 1;
      total.sequential_calls += hops * detail::calls_for(seeds * explorations, max_batch);
    }
    index_t largest_call = 0;
    for (const index_t rows : rows_at(steps, seeds)) {
      total.model_evaluations += rows;
      total.model_calls += detail::calls_for(rows, max_batch);
      largest_call = (std::max)(largest_call, rows);
    }
    total.samples = seeds * points * explorations;
    const index_t states = seeds * points + 2 * total.samples + (finish_trunk ? seeds : 0);
    total.bytes = states * dimension * element_size + total.samples * static_cast<index_t>(sizeof(double));
    total.working_bytes = (2 * largest_call + seeds) * dimension * element_size;
    return total;
  }
};

}  // namespace tempflow
