// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Forests as tables, and rollouts of them that have tables but no elements: what Python holds while it walks a plan.
//
//   nodes (N, 15): move, parent, knot, children, states, first_seed, seeds, first_branch, solver, trained, finished
//                  of forest_node, then whether its states are kept, whether draws lead to it, whether its trajectories
//                  remember a prediction, and whether its step looks back at one

#include <span>
#include <vector>

#include "chains.hpp"
#include "tempflow/rollout/detail/forest_layout.hpp"
#include "tempflow/rollout/detail/rollout_tables.hpp"
#include "tempflow/rollout/forest.hpp"
#include "tempflow/rollout/trajectories.hpp"
#include "tempflow/schedule/multistep.hpp"

namespace tempflow::python {

inline constexpr index_t node_numbers = 15;

/// The step of second order to a node; that of a trajectory's first step is the chain's own.
inline multistep_transition multistep_to(const forest& plan, const detail::forest_layout& layout,
                                         index_t next) {
  const auto sigma = [&](index_t node) {
    return plan.steps().sigmas()[static_cast<std::size_t>(plan.node(node).knot)];
  };
  const index_t node = plan.node(next).parent;
  const double before = layout.history(node).first < 0 ? 1 : sigma(plan.node(node).parent);
  return dpm_solver_2m(before, {.sigma = sigma(node), .sigma_next = sigma(next)});
}

/// A forest made again, move by move, from its nodes: what they cannot be is refused as it was when they were made.
inline forest forest_of(std::string_view operation, const Tensor& chain, const Tensor& nodes, bool antithetic,
                        bool redraw) {
  const table<std::int64_t> numbers(operation, "nodes", nodes, node_numbers);
  forest plan(chain_of(operation, chain));
  plan.antithetic = antithetic;
  plan.redraw = redraw;
  for (std::size_t at = 0; at < numbers.values().size(); at += node_numbers) {
    const auto node = numbers.values().subspan(at, node_numbers);
    const auto solver = node[8] == 0 ? ode_solver::one_step : ode_solver::dpm_solver_2m;
    index_t made = 0;
    switch (node[0]) {
      case 0: made = plan.start(node[3], node[5]); break;
      case 1: made = plan.ode(node[1], node[2], solver); break;
      case 2: {
        const index_t first = plan.node(node[1]).first_branch;  // numbers of branches fit 16 bits
        made = plan.draw(node[1], {.children = node[3],
                                   .trained = node[9] != 0,
                                   .branch_offset = node[3] > 65536 ? -1 : node[7] - first * node[3]});
        break;
      }
      default:
        throw value_error(detail::message(operation, ": node ", at / node_numbers, " has move ", node[0]));
    }
    if (node[10] != 0) plan.finish(made);
  }
  plan.validate();
  return plan;
}

/// A rollout of a forest: its rows, samples and log-probs, with states and samples of no elements. Everything that
/// follows from who is who is asked of it.
inline trajectories<float> rollout_of(const forest& plan, std::span<const index_t> prompts,
                                      std::span<const double> log_probs) {
  const detail::forest_layout layout(plan);
  const auto count = static_cast<index_t>(prompts.size());
  const auto rows = [&](detail::rollout_memory memory) { return layout.rows(memory) * count; };
  trajectory_data<float> data{.steps = plan.steps(),
                              .convention = plan.convention,
                              .antithetic = plan.antithetic,
                              .redraw = plan.redraw,
                              .states = {rows(detail::rollout_memory::states), 0},
                              .samples = {rows(detail::rollout_memory::samples), 0}};
  const std::vector<double> none(static_cast<std::size_t>(layout.draws * count));  // of all draws
  detail::forest_tables(plan, layout, prompts).fill(none, data);
  if (!log_probs.empty()) {
    detail::check_size("rollout", "log_probs", log_probs.size(), static_cast<index_t>(data.table.size()));
    data.log_probs.assign(log_probs.begin(), log_probs.end());
  }
  return trajectories<float>(std::move(data));
}

}  // namespace tempflow::python
