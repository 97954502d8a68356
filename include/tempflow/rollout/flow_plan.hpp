// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Flow-GRPO's rollout: every stochastic step of the chain draws noise, and one reward credits all of them. On
// a chain with a window of stochastic steps this is MixGRPO's and Flow-GRPO-Fast's rollout; with shared noise
// it is DanceGRPO's, and the steps before the window are walked once per prompt. Source: Flow-GRPO, arXiv
// 2505.05470, section 4; MixGRPO, arXiv 2507.21802; DanceGRPO, arXiv 2505.07818, section 3.

#include <algorithm>
#include <vector>

#include "tempflow/rollout/detail/plan.hpp"
#include "tempflow/rollout/forest.hpp"
#include "tempflow/rollout/rollout_cost.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// Flow-GRPO's rollout, and MixGRPO's with its window of steps: independent samples, which draw noise at each
/// stochastic step of the chain. Plain data; every field has the published default.
struct flow_plan {
  index_t samples_per_prompt = 24;
  std::vector<index_t> trained_steps = {};  ///< ascending, stochastic; empty: the chain's trainable_steps()
  /// All samples of a prompt start from the same noise. They part at the first stochastic step, and what lies
  /// before it is evaluated once.
  bool shared_noise = false;
  ode_solver solver = ode_solver::one_step;  ///< of the chain's deterministic steps
  bool antithetic = false;  ///< samples with shared noise in pairs that draw z and -z at every step
  index_t first_seed = 0;   ///< number of the first sample: processes with different ones collect one group
  bool redraw = false;      ///< draw trained successors again to train on them (forest::redraw)
  index_t max_batch = 0;    ///< rows the model takes in a call; 0: any. Never changes a result
  index_t max_bytes = 0;    ///< memory that the rollout may take; 0: any
  bool check_velocities = true;  ///< throw where the model returns a number that is not finite
  log_prob_convention convention = {};

  /// The trained steps on a chain.
  std::vector<index_t> steps_on(const chain& steps) const {
    return detail::listed_or_trainable(trained_steps, steps);
  }

  /// Throws value_error for counts that make no sense, schedule_error for trained steps that are none, do not
  /// ascend or draw no noise.
  void validate(const chain& steps) const {
    detail::check_at_least("flow_plan: samples_per_prompt", samples_per_prompt, 1);
    detail::check_at_least("flow_plan: first_seed", first_seed, 0);
    if (antithetic && (!shared_noise || samples_per_prompt % 2 != 0)) {
      throw value_error(detail::message("flow_plan: samples_per_prompt = ", samples_per_prompt,
                                        ", shared_noise = ", shared_noise,
                                        ": antithetic samples are an even number with shared noise"));
    }
    detail::check_default_steps("flow_plan", "trained step", "trained_steps", steps_on(steps), steps);
  }

  /// The plan in full. Throws as validate does, and what building a forest throws.
  forest on(const chain& steps) const {
    validate(steps);
    forest plan = detail::forest_of(*this, steps);
    const auto trained = steps_on(steps);
    bool apart = !shared_noise;
    index_t at = apart ? plan.start(samples_per_prompt, first_seed) : plan.start(1);
    for (index_t step = 0; step < steps.steps(); ++step) {
      if (!steps[step].stochastic()) {
        at = plan.ode(at, step + 1, solver);
        continue;
      }
      draw_options next{.trained = std::binary_search(trained.begin(), trained.end(), step)};
      if (!apart) next.children = samples_per_prompt, next.branch_offset = first_seed;
      at = plan.draw(at, next);
      apart = true;
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
