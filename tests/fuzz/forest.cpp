// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Forests given by hand: any moves with any numbers, and plans with any fields. A typed error, or a forest whose states
// have a place and whose draws have identities of their own.

#include "tempflow/rollout/forest.hpp"

#include "fuzz/input.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/detail/forest_layout.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/rollout_cost.hpp"
#include "tempflow/rollout/tree_plan.hpp"
#include "tempflow/schedule/sigmas.hpp"

namespace tf = tempflow;

namespace {

std::vector<tf::index_t> list_of(fuzz::input& in) {
  std::vector<tf::index_t> list;
  for (int count = in.choose(5); count > 0; --count) list.push_back(in.integer());
  return list;
}

tf::forest by_hand(const tf::chain& steps, fuzz::input& in) {
  tf::forest plan(steps);
  while (!in.empty() && plan.nodes().size() < 40) {
    try {
      switch (in.choose(5)) {
        case 0: plan.start(in.integer(), in.integer()); break;
        case 1:
          plan.ode(in.integer(), in.integer(),
                   in.flip() ? tf::ode_solver::one_step : tf::ode_solver::dpm_solver_2m);
          break;
        case 2: plan.finish(in.integer()); break;
        default:
          plan.draw(in.integer(),
                    {.children = in.integer(), .trained = in.flip(), .branch_offset = in.integer()});
      }
    } catch (const tf::error&) {  // refused, and left as it was
    }
  }
  return plan;
}

tf::forest planned(const tf::chain& steps, fuzz::input& in) {
  switch (in.choose(3)) {
    case 0:
      return tf::branch_plan{.seeds_per_prompt = in.integer(),
                             .explorations = in.integer(),
                             .branch_steps = list_of(in),
                             .completion_steps = list_of(in),
                             .finish_trunk = in.flip(),
                             .antithetic = in.flip(),
                             .shared_noise = in.flip(),
                             .first_seed = in.integer()}
          .on(steps);
    case 1:
      return tf::flow_plan{.samples_per_prompt = in.integer(),
                           .trained_steps = list_of(in),
                           .shared_noise = in.flip(),
                           .antithetic = in.flip(),
                           .first_seed = in.integer()}
          .on(steps);
    default:
      return tf::tree_plan{.trees_per_prompt = in.integer(),
                           .children = in.integer(),
                           .split_steps = list_of(in),
                           .trained_steps = list_of(in),
                           .antithetic = in.flip(),
                           .first_seed = in.integer()}
          .on(steps);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const tf::chain steps =
      tf::make_chain(tf::sd3_sigmas(6), tf::flow_sde{0.7}, std::vector<tf::index_t>{0, 1, 2, 4});
  fuzz::input in(data, size);
  try {
    tf::forest plan = in.flip() ? by_hand(steps, in) : planned(steps, in);
    plan.max_batch = in.integer(), plan.redraw = in.flip(), plan.antithetic = plan.antithetic || in.flip();
    plan.validate();
    for (const tf::forest_node& node : plan.nodes()) {
      fuzz::require(node.states >= 1 && node.seeds >= 1 && node.states % node.seeds == 0 && node.knot >= 0 &&
                        node.knot <= 6,
                    "a node has states");
      fuzz::require(node.first_branch >= 0 && node.first_branch + node.states / node.seeds <= 65536,
                    "branches are 16 bits");
    }
    const auto cost = tf::cost_of(plan, in.integer(), in.integer(), 4);
    fuzz::require(cost.model_evaluations >= 0 && cost.bytes >= 0 && cost.working_bytes >= 0 &&
                      cost.samples >= 0 && cost.model_calls >= 0 && cost.sequential_calls >= cost.model_calls,
                  "a cost is no less than nothing");
  } catch (const tf::error&) {
  }
  return 0;
}
