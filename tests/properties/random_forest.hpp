// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Chains of which any steps draw noise, and forests on them: grown at random, or of the published plans.

#include <algorithm>
#include <span>
#include <vector>

#include "properties/draw.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/forest.hpp"
#include "tempflow/rollout/tree_plan.hpp"
#include "tempflow/schedule/chain.hpp"
#include "tempflow/schedule/dynamics.hpp"

namespace properties {

using tempflow::forest;
using tempflow::ode_solver;

/// A flow's chain, of which some steps draw noise.
inline tempflow::chain random_chain(draw& source) {
  const index_t steps = source.between(1, 7);
  std::vector<double> sigmas{1};
  for (index_t i = 1; i < steps; ++i)
    sigmas.push_back(sigmas.back() - source.uniform(0.05, 0.95) / static_cast<double>(steps));
  sigmas.push_back(0);
  std::vector<index_t> drawing;
  for (index_t i = 0; i < steps; ++i) {
    if (!source.once_in(4)) drawing.push_back(i);
  }
  if (source.once_in(2))
    return tempflow::make_chain(sigmas, tempflow::dance_sde{source.uniform(0.1, 0.5)}, drawing);
  if (!drawing.empty() && drawing.back() == steps - 1) drawing.pop_back();  // there CPS draws no noise
  return tempflow::make_chain(sigmas, tempflow::flow_cps{source.uniform(0.1, 0.9)}, drawing);
}

/// Grown at random: any node may part, into any moves that are allowed.
inline forest random_forest(draw& source, const tempflow::chain& steps, bool second_order) {
  forest plan(steps);
  std::vector<index_t> open;
  for (index_t first = source.between(0, 5), trees = source.between(1, 2); trees > 0; --trees, first += 7)
    open.push_back(plan.start(source.between(1, 3), first));
  index_t offset[8] = {};
  for (index_t grown = 0; grown < 14; ++grown) {
    const index_t from = source.one_of(std::span<const index_t>(open)), knot = plan.node(from).knot;
    if (knot == steps.steps()) continue;
    if (steps[knot].stochastic() && !source.once_in(3)) {
      const index_t children = source.between(1, 3),
                    branches = plan.node(from).states / plan.node(from).seeds;
      const tempflow::draw_options options{
          .children = children, .trained = !source.once_in(3), .branch_offset = offset[knot]};
      if (plan.node(from).states * children > 40) continue;
      try {
        open.push_back(plan.draw(from, options));
        offset[knot] += (plan.node(open.back()).first_branch + branches * children) * 4 + 1;
      } catch (const tempflow::value_error&) {  // branches that another node draws: refused
      }
    } else {
      const auto solver =
          second_order && source.once_in(2) ? ode_solver::dpm_solver_2m : ode_solver::one_step;
      open.push_back(plan.ode(from, source.between(knot + 1, steps.steps()), solver));
    }
  }
  const auto grown = static_cast<index_t>(plan.nodes().size());
  for (index_t node = 0; node < grown; ++node) {
    bool leaf = true;
    for (const auto& other : plan.nodes()) leaf = leaf && other.parent != node;
    const index_t knot = plan.node(node).knot;
    if (knot == steps.steps()) {
      plan.finish(node);
    } else if (leaf || source.once_in(8)) {
      plan.finish(plan.ode(node, steps.steps()));
    }
  }
  return plan;
}

inline forest random_plan(draw& source, const tempflow::chain& steps) {
  const auto drawing = steps.stochastic_steps();
  const auto some = [&] {
    std::vector<index_t> chosen;
    for (const index_t step : drawing) {
      if (source.once_in(2)) chosen.push_back(step);
    }
    if (chosen.empty()) chosen.push_back(drawing.front());
    return chosen;
  };
  const bool pairs = source.once_in(3);
  switch (source.between(0, 2)) {
    case 0:
      return tempflow::branch_plan{.seeds_per_prompt = source.between(1, 3),
                                   .explorations = pairs ? 2 * source.between(1, 2) : source.between(1, 3),
                                   .branch_steps = some(),
                                   .completion_steps = {source.between(0, 3)},
                                   .finish_trunk = source.once_in(2),
                                   .antithetic = pairs,
                                   .shared_noise = source.once_in(3),
                                   .first_seed = source.between(0, 9),
                                   .redraw = source.once_in(3)}
          .on(steps);
    case 1:
      return tempflow::flow_plan{.samples_per_prompt = 2 * source.between(1, 3),
                                 .trained_steps = some(),
                                 .shared_noise = pairs || source.once_in(3),
                                 .antithetic = pairs,
                                 .first_seed = 2 * source.between(0, 9),
                                 .redraw = source.once_in(3)}
          .on(steps);
    default: {
      auto splits = some();
      if (pairs && splits.front() != drawing.front()) splits.insert(splits.begin(), drawing.front());
      return tempflow::tree_plan{
          .trees_per_prompt = source.between(1, 2),
          .children = 2,
          .split_steps = {splits.begin(), splits.begin() + std::min<std::ptrdiff_t>(3, std::ssize(splits))},
          .trained_steps = some(),
          .antithetic = pairs,
          .first_seed = source.between(0, 9),
          .redraw = source.once_in(3)}
          .on(steps);
    }
  }
}

}  // namespace properties
