// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The table of docs/how-to/choose-a-plan.md: what plans take for a prompt, before anything runs.

#include <cstdio>
#include <tempflow/tempflow.hpp>

#include "how_to.hpp"

namespace tf = tempflow;

static void print_row(const char* plan, const tf::rollout_cost& cost) {
  std::printf("| %s | %d | %d | %d | %d | %d | %.1f |\n", plan, int(cost.samples),
              int(cost.model_evaluations), int(cost.model_calls), int(cost.trained_states),
              int(cost.forward_passes()), double(cost.forward_passes()) / double(cost.samples));
}

bool choose_a_plan() {
  const auto grid = tf::sd3_sigmas(10);
  const auto chain = tf::make_chain(grid, tf::flow_sde{});
  const auto window =
      tf::make_chain(grid, tf::flow_sde{}, tf::step_range(0, 4));  // 4 noisy steps, then the ODE
  const auto two = tf::make_chain(grid, tf::flow_sde{}, tf::step_range(2, 2));
  std::printf(
      "| plan | samples | evaluations | calls | trained states | forward passes | per sample |\n"
      "|---|---|---|---|---|---|---|\n");
  print_row("`branch_plan{}`", tf::branch_plan{}.cost(chain, 1));
  print_row("`branch_plan{.completion_steps = {2}}`",
            tf::branch_plan{.completion_steps = {2}}.cost(chain, 1));
  print_row("`branch_plan{.branch_steps = {1, 3, 5}}`",
            tf::branch_plan{.branch_steps = {1, 3, 5}}.cost(chain, 1));
  print_row("`branch_plan{.shared_noise = true}`", tf::branch_plan{.shared_noise = true}.cost(chain, 1));
  print_row("`flow_plan{}`", tf::flow_plan{}.cost(chain, 1));
  print_row("`flow_plan{.shared_noise = true}`", tf::flow_plan{.shared_noise = true}.cost(chain, 1));
  print_row("`flow_plan{}`, noise at steps 0 to 3 alone", tf::flow_plan{}.cost(window, 1));
  print_row("`tree_plan{.trees_per_prompt = 4, .children = 6, .split_steps = {2}}`, noise at 2 and 3 alone",
            tf::tree_plan{.trees_per_prompt = 4, .children = 6, .split_steps = {2}}.cost(two, 1));
  print_row("`tree_plan{.trees_per_prompt = 2}`", tf::tree_plan{.trees_per_prompt = 2}.cost(chain, 1));
  return true;
}
