// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// BranchGRPO's rollout: trees whose states part at chosen steps and draw noise at every step, so that samples
// share what lies before. Leaf rewards are fused upwards (fused_rewards.hpp) and compared within a depth.
// Source: BranchGRPO, arXiv 2509.06040, section 3.

#include <algorithm>
#include <vector>

#include "tempflow/rollout/detail/plan.hpp"
#include "tempflow/rollout/forest.hpp"
#include "tempflow/rollout/rollout_cost.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// BranchGRPO's rollout: trees whose states split at some steps and draw noise at every stochastic one. Plain data.
struct tree_plan {
  index_t trees_per_prompt = 1;  ///< initial noises per prompt
  index_t children = 2;          ///< successors of a state where it splits
  /// Ascending, stochastic; published for chains of 16 steps and more.
  std::vector<index_t> split_steps = {0, 3, 6, 9};
  std::vector<index_t> trained_steps = {};  ///< ascending, stochastic; empty: the chain's trainable_steps()
  bool antithetic = false;  ///< odd branches draw minus the noise of even ones, at splits and behind them
  index_t first_seed = 0;   ///< number of the first tree: processes with different ones collect one group
  bool redraw = false;      ///< draw trained successors again to train on them (forest::redraw)
  index_t max_batch = 0;    ///< rows the model takes in a call; 0: any. Never changes a result
  index_t max_bytes = 0;    ///< memory that the rollout may take; 0: any
  bool check_velocities = true;  ///< throw where the model returns a number that is not finite
  log_prob_convention convention = {};

  /// The trained steps on a chain.
  std::vector<index_t> steps_on(const chain& steps) const {
    return detail::listed_or_trainable(trained_steps, steps);
  }

  /// Throws value_error for counts that make no sense, schedule_error for splits and trained steps that are
  /// none, do not ascend or draw no noise.
  void validate(const chain& steps) const {
    detail::check_at_least("tree_plan: trees_per_prompt", trees_per_prompt, 1);
    detail::check_at_least("tree_plan: children", children, 2);
    detail::check_at_least("tree_plan: first_seed", first_seed, 0);
    detail::check_drawing_steps("tree_plan", "split step", split_steps, steps);
    detail::check_default_steps("tree_plan", "trained step", "trained_steps", steps_on(steps), steps);
    if (antithetic && (children % 2 != 0 || split_steps.front() != steps.stochastic_steps().front())) {
      throw value_error(detail::message("tree_plan: antithetic, with ", children,
                                        " children and the first split at step ", split_steps.front(),
                                        ": pairs need an even number, from the first noisy step (",
                                        steps.stochastic_steps().front(), ") on"));
    }
  }

  /// The plan in full. Throws as validate does, and what building a forest throws.
  forest on(const chain& steps) const {
    validate(steps);
    forest plan = detail::forest_of(*this, steps);
    const auto trained = steps_on(steps);
    index_t at = plan.start(trees_per_prompt, first_seed);
    for (index_t step = 0; step < steps.steps(); ++step) {
      if (!steps[step].stochastic()) {
        at = plan.ode(at, step + 1);
      } else {
        const bool splits = std::binary_search(split_steps.begin(), split_steps.end(), step);
        at = plan.draw(at, {.children = splits ? children : 1,
                            .trained = std::binary_search(trained.begin(), trained.end(), step)});
      }
    }
    plan.finish(at);
    return plan;
  }

  /// Arguments and errors as cost_of.
  rollout_cost cost(const chain& steps, index_t prompts, index_t dimension = 0,
                    index_t element_size = 4) const {
    return cost_of(on(steps), prompts, dimension, element_size);
  }
};

}  // namespace tempflow
