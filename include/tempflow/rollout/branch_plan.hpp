// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How TempFlow-GRPO explores: an ODE trunk per seed, K stochastic branches at chosen steps, each completed by
// the ODE, so that the reward of a finished sample credits exactly one step.
// Source: TempFlow-GRPO, arXiv 2508.04324, section 3.2.

#include <algorithm>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/rollout/detail/plan.hpp"
#include "tempflow/rollout/forest.hpp"
#include "tempflow/rollout/rollout_cost.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// The knots at which the ODE completes a branch of step `branch_step`: from branch_step + 1 to chain_steps, in at
/// most `max_steps` steps (0: one for each step of the chain), spread evenly over the rest of the grid.
inline std::vector<index_t> completion_knots(index_t branch_step, index_t chain_steps, index_t max_steps) {
  const index_t first = branch_step + 1, remaining = chain_steps - first;
  const index_t hops = max_steps == 0 ? remaining : (std::min)(max_steps, remaining);
  std::vector<index_t> knots{first};
  for (index_t i = 1; i <= hops; ++i) knots.push_back(first + (2 * i * remaining + hops) / (2 * hops));
  return knots;
}

/// TempFlow-GRPO's rollout: at each branching step of an ODE trunk K branches draw noise, and the ODE completes them.
/// Plain data; every field has the published default.
struct branch_plan {
  index_t seeds_per_prompt = 4;            ///< initial noises per prompt
  index_t explorations = 6;                ///< K branches of each seed at each branching step
  std::vector<index_t> branch_steps = {};  ///< ascending; empty: the chain's trainable_steps()
  /// ODE steps that finish a branch, at most: one number for all branching steps, or one for each. 0: all
  /// remaining steps.
  std::vector<index_t> completion_steps = {0};
  ode_solver completion_solver = ode_solver::one_step;
  /// Also carry the trunk to a finished sample: per seed, or per prompt where seeds share it.
  bool finish_trunk = false;
  bool antithetic = false;  ///< explorations in pairs z, -z; K must be even
  /// All seeds of a prompt start from the same noise: they share their trunk, and have K branches of their own.
  bool shared_noise = false;
  index_t first_seed = 0;  ///< number of the first seed: processes with different seeds collect one group
  bool redraw = false;     ///< keep no branch, draw it again to train on it (forest::redraw)
  index_t max_batch = 0;   ///< rows the model takes in a call; 0: any. Never changes a result
  index_t max_bytes = 0;   ///< memory that the rollout may take; 0: any
  bool check_velocities = true;  ///< throw where the model returns a number that is not finite
  log_prob_convention convention = {};

  /// The branching steps on a chain.
  std::vector<index_t> steps_on(const chain& steps) const {
    return detail::listed_or_trainable(branch_steps, steps);
  }

  /// The longest completion of the branches of the point-th branching step.
  index_t completion_steps_of(index_t point) const {
    return completion_steps[completion_steps.size() == 1 ? 0 : static_cast<std::size_t>(point)];
  }

  /// Throws value_error for counts that make no sense, schedule_error for branching steps that are none, do
  /// not ascend or draw no noise.
  void validate(const chain& steps) const {
    using detail::check_at_least;
    check_at_least("branch_plan: seeds_per_prompt", seeds_per_prompt, 1);
    check_at_least("branch_plan: explorations", explorations, 1);
    check_at_least("branch_plan: first_seed", first_seed, 0);
    if (explorations > 65536) {
      throw value_error(
          detail::message("branch_plan: explorations = ", explorations, ", must be at most 65536"));
    }
    if (antithetic && explorations % 2 != 0) {
      throw value_error(
          detail::message("branch_plan: explorations = ", explorations, ", must be even to be antithetic"));
    }
    const auto branching = steps_on(steps);
    detail::check_default_steps("branch_plan", "branching step", "branch_steps", branching, steps);
    if (completion_steps.size() != 1 && completion_steps.size() != branching.size()) {
      throw value_error(detail::message("branch_plan: completion_steps has ", completion_steps.size(),
                                        " entries, expected 1 or one for each of ", branching.size(),
                                        " branching steps"));
    }
    for (const index_t most : completion_steps) check_at_least("branch_plan: completion_steps", most, 0);
  }

  /// The plan in full. Throws as validate does, and what building a forest throws.
  forest on(const chain& steps) const {
    validate(steps);
    forest plan = detail::forest_of(*this, steps);
    const auto branching = steps_on(steps);
    const draw_options branches =
        shared_noise
            ? draw_options{.children = detail::checked_product("branch_plan", seeds_per_prompt, explorations),
                           .branch_offset = detail::checked_product("branch_plan", first_seed, explorations)}
            : draw_options{.children = explorations};
    index_t trunk = shared_noise ? plan.start(1) : plan.start(seeds_per_prompt, first_seed);
    for (index_t point = 0, step = 0; step < steps.steps(); ++step) {
      if (point < static_cast<index_t>(branching.size()) &&
          branching[static_cast<std::size_t>(point)] == step) {
        index_t branch = plan.draw(trunk, branches);
        const auto knots = completion_knots(step, steps.steps(), completion_steps_of(point));
        for (std::size_t hop = 1; hop < knots.size(); ++hop)
          branch = plan.ode(branch, knots[hop], completion_solver);
        plan.finish(branch);
        ++point;
      }
      if (!finish_trunk && point == static_cast<index_t>(branching.size())) break;
      trunk = plan.ode(trunk, step + 1);
    }
    if (finish_trunk) plan.finish(trunk);
    return plan;
  }

  /// Full completion takes T_b + K sum_i (T - 1 - i) evaluations per seed. Arguments and errors as cost_of.
  rollout_cost cost(const chain& steps, index_t prompts, index_t dimension = 0,
                    index_t element_size = 4) const {
    return cost_of(on(steps), prompts, dimension, element_size);
  }
};

}  // namespace tempflow
