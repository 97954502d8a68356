// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// docs/how-to/new-plan.md

#include <cstdio>
#include <tempflow/tempflow.hpp>
#include <vector>

#include "how_to.hpp"

namespace tf = tempflow;

// Explorations that draw noise at two steps, the second and the third, and that the ODE completes in three.
struct two_step_branches {
  tf::index_t seeds = 4, explorations = 6;

  tf::forest on(const tf::chain& steps) const {
    tf::forest plan(steps);
    tf::index_t at = plan.start(seeds);              // initial noises of a prompt
    at = plan.ode(at, 1);                            // the trunk, to knot 1
    at = plan.draw(at, {.children = explorations});  // siblings
    at = plan.draw(at);                              // and one successor of each
    const auto knots = tf::completion_knots(2, steps.steps(), 3);
    for (std::size_t i = 1; i < knots.size(); ++i) at = plan.ode(at, knots[i]);
    plan.finish(at);
    return plan;
  }
};
static_assert(tf::rollout_plan<two_step_branches>);

bool new_plan() {
  const auto chain = tf::make_chain(tf::sd3_sigmas(10), tf::flow_sde{});
  const two_step_branches plan;
  const tf::rollout_cost cost = tf::cost_of(plan.on(chain), 2);  // of two prompts, before anything runs
  std::printf("%d samples, %d evaluations in %d calls, %d states to train on\n", int(cost.samples),
              int(cost.model_evaluations), int(cost.model_calls), int(cost.trained_states));

  auto model = tf::flow_model<float>(64, [](auto x, auto, auto, auto v) {
    for (tf::index_t i = 0; i < x.rows(); ++i)
      for (tf::index_t e = 0; e < 64; ++e) v.row(i)[e] = x.row(i)[e] / 2;
  });
  const tf::index_t prompts[] = {0, 1};
  const auto rollout = tf::roll_out(tf::cpu_backend{}, model, prompts, chain, plan, {.seed = 1});
  return rollout.samples().rows() == cost.samples && rollout.rows() == cost.trained_rows &&
         rollout.trained_steps() == std::vector<tf::index_t>{1, 2};
}
