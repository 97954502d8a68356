// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Operators of rollouts: what a plan visits, who is who in a rollout of it, and how it is cut into batches.

#include "plans.hpp"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "convention.hpp"
#include "tempflow/tempflow.hpp"

namespace tempflow::python {
namespace {

using indices = std::vector<std::int64_t>;

/// Nodes, and of each: alpha, beta, std, sigma, sigma_next, dt and diffusion of the move to it, then the factor of the
/// prediction that it looks back at.
std::tuple<Tensor, Tensor> tables_of(const forest& plan) {
  plan.validate();
  const detail::forest_layout layout(plan);
  indices numbers;
  std::vector<double> moves;
  const auto nodes = plan.nodes();
  for (index_t i = 0; i < static_cast<index_t>(nodes.size()); ++i) {
    const forest_node& node = plan.node(i);
    const bool second_order = node.solver == ode_solver::dpm_solver_2m;
    const multistep_transition multistep =
        second_order ? multistep_to(plan, layout, i) : multistep_transition{};
    const bool looks_back = second_order && multistep.previous != 0;
    for (const index_t number :
         {static_cast<index_t>(node.move), node.parent, node.knot, node.children, node.states,
          node.first_seed, node.seeds, node.first_branch, index_t{second_order}, index_t{node.trained},
          index_t{node.finished}, index_t{layout.kept(i)}, index_t{!layout.drawless(i)},
          index_t{layout.history(i).first >= 0}, index_t{looks_back}}) {
      numbers.push_back(number);
    }
    transition move;
    if (node.move == forest_move::draw) move = plan.steps()[node.knot - 1];
    if (node.move == forest_move::ode) move = plan.steps().ode_step(plan.node(node.parent).knot, node.knot);
    if (looks_back) move.alpha = multistep.alpha, move.beta = multistep.beta;
    for (const double number : {move.alpha, move.beta, move.std, move.sigma, move.sigma_next, move.dt,
                                move.diffusion, multistep.previous}) {
      moves.push_back(number);
    }
  }
  return {table_of(numbers, node_numbers), table_of(moves, 8)};
}

ode_solver solver_of(std::string_view operation, std::string_view argument, const std::string& name) {
  static constexpr std::pair<std::string_view, ode_solver> solvers[] = {
      {"one_step", ode_solver::one_step}, {"dpm_solver_2m", ode_solver::dpm_solver_2m}};
  return choice(operation, argument, name, solvers);
}

std::tuple<Tensor, Tensor> branch_forest(const Tensor& chain, std::int64_t seeds_per_prompt,
                                         std::int64_t explorations, indices branch_steps,
                                         indices completion_steps, std::string completion_solver,
                                         bool finish_trunk, bool antithetic, bool shared_noise,
                                         std::int64_t first_seed, bool redraw) {
  return typed([&] {
    return tables_of(
        branch_plan{.seeds_per_prompt = seeds_per_prompt,
                    .explorations = explorations,
                    .branch_steps = branch_steps,
                    .completion_steps = completion_steps,
                    .completion_solver = solver_of("branch_plan", "completion_solver", completion_solver),
                    .finish_trunk = finish_trunk,
                    .antithetic = antithetic,
                    .shared_noise = shared_noise,
                    .first_seed = first_seed,
                    .redraw = redraw}
            .on(chain_of("branch_plan", chain)));
  });
}

std::tuple<Tensor, Tensor> flow_forest(const Tensor& chain, std::int64_t samples_per_prompt,
                                       indices trained_steps, bool shared_noise, std::string solver,
                                       bool antithetic, std::int64_t first_seed, bool redraw) {
  return typed([&] {
    return tables_of(flow_plan{.samples_per_prompt = samples_per_prompt,
                               .trained_steps = trained_steps,
                               .shared_noise = shared_noise,
                               .solver = solver_of("flow_plan", "solver", solver),
                               .antithetic = antithetic,
                               .first_seed = first_seed,
                               .redraw = redraw}
                         .on(chain_of("flow_plan", chain)));
  });
}

std::tuple<Tensor, Tensor> tree_forest(const Tensor& chain, std::int64_t trees_per_prompt,
                                       std::int64_t children, indices split_steps, indices trained_steps,
                                       bool antithetic, std::int64_t first_seed, bool redraw) {
  return typed([&] {
    return tables_of(tree_plan{.trees_per_prompt = trees_per_prompt,
                               .children = children,
                               .split_steps = split_steps,
                               .trained_steps = trained_steps,
                               .antithetic = antithetic,
                               .first_seed = first_seed,
                               .redraw = redraw}
                         .on(chain_of("tree_plan", chain)));
  });
}

/// Identities of the draws that lead to a node, (R, 4): of the first child of each state that it comes from; of a
/// start, of each state.
Tensor draw_ids(const Tensor& chain, const Tensor& nodes, indices prompts, std::int64_t node) {
  return typed([&] {
    detail::check_prompts(as_indices(prompts));
    const forest plan = forest_of("draw_ids", chain, nodes, false, false);
    const forest_node& to = plan.node(node);
    const bool starts = to.move == forest_move::start;
    indices ids;
    detail::for_each_state(plan.node(starts ? node : to.parent), as_indices(prompts),
                           [&](index_t prompt, index_t seed, index_t i) {
                             const index_t step = starts ? initial_noise_step : to.knot - 1;
                             const index_t branch = starts ? 0 : to.first_branch + i * to.children;
                             ids.insert(ids.end(), {prompt, seed, step, branch});
                           });
    return table_of(ids, 4);
  });
}

/// Rows (R, 10): state, successor, step, sample, samples, parent, and prompt, seed, step, branch of its draw.
/// Samples (N, 6): prompt, seed, step, branch, node, last row.
std::tuple<Tensor, Tensor> rollout_tables(const Tensor& chain, const Tensor& nodes, indices prompts,
                                          bool antithetic, bool redraw) {
  return typed([&] {
    detail::check_prompts(as_indices(prompts));
    const forest plan = forest_of("rollout_tables", chain, nodes, antithetic, redraw);
    const trajectories<float> rollout = rollout_of(plan, as_indices(prompts), {});
    indices rows, samples;
    for (index_t i = 0; i < rollout.rows(); ++i) {
      const trajectory_row& row = rollout.row(i);
      const noise_id& id = row.noise;
      rows.insert(rows.end(), {row.state, row.successor, row.step, row.sample, row.samples, row.parent,
                               std::int64_t{id.prompt}, std::int64_t{id.seed}, std::int64_t{id.step},
                               std::int64_t{id.branch}});
    }
    index_t sample = 0;
    for (const sample_identity& s : rollout.identities()) {
      samples.insert(samples.end(), {s.prompt, s.seed, s.step, s.branch, s.node, rollout.last_row(sample++)});
    }
    return std::tuple(table_of(rows, 10), table_of(samples, 6));
  });
}

/// A group id per sample, or per row for depth groups.
Tensor groups(const Tensor& chain, const Tensor& nodes, indices prompts, std::string of) {
  return typed([&] {
    detail::check_prompts(as_indices(prompts));
    const forest plan = forest_of("groups", chain, nodes, false, false);
    const trajectories<float> rollout = rollout_of(plan, as_indices(prompts), {});
    if (of == "prompt") return table_of(rollout.prompt_groups());
    if (of == "seed") return table_of(rollout.seed_groups());
    if (of == "step") return table_of(rollout.step_groups());
    if (of == "depth") return table_of(rollout.depth_groups());
    throw value_error(detail::message("groups: of = '", of, "', must be one of prompt, seed, step, depth"));
  });
}

/// Rewards of rows from those of samples.
Tensor fused_rewards(const Tensor& chain, const Tensor& nodes, indices prompts, const Tensor& log_probs,
                     const Tensor& rewards, std::string fusion, bool exclude_not_finite) {
  return typed([&] {
    static constexpr std::pair<std::string_view, reward_fusion> fusions[] = {
        {"mean", reward_fusion::mean}, {"path_probability", reward_fusion::path_probability}};
    detail::check_prompts(as_indices(prompts));
    const forest plan = forest_of("fused_rewards", chain, nodes, false, false);
    const trajectories<float> rollout =
        rollout_of(plan, as_indices(prompts), table<double>("fused_rewards", "log_probs", log_probs));
    return table_of(tempflow::fused_rewards(
        rollout, table<double>("fused_rewards", "rewards", rewards),
        choice("fused_rewards", "fusion", fusion, fusions),
        exclude_not_finite ? not_finite_rewards::exclude : not_finite_rewards::refuse));
  });
}

/// How a rollout is cut: pieces (P, 4) of first state, states, mean_over, whether it completes an update; the states in
/// order; where each one's rows begin; the rows; an advantage and a weight for each; and skipped states and rows, left
/// out states and rows.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> minibatch_tables(
    const Tensor& chain, const Tensor& nodes, indices prompts, bool redraw, const Tensor& advantages,
    const Tensor& weights, std::int64_t size, std::int64_t updates, std::optional<indices> shuffle,
    bool of_rows, bool skip_zeros, indices left_out) {
  return typed([&] {
    detail::check_prompts(as_indices(prompts));
    const forest plan = forest_of("minibatches", chain, nodes, false, redraw);
    const trajectories<float> rollout = rollout_of(plan, as_indices(prompts), {});
    minibatch_options options{.size = size,
                              .updates = updates,
                              .advantages = of_rows ? advantage_of::rows : advantage_of::samples,
                              .skip_zeros = skip_zeros,
                              .leave_out = {.advantages = left_out}};
    if (shuffle && shuffle->size() != 2) {
      throw shape_error(detail::message("minibatches: shuffle has ", shuffle->size(),
                                        " numbers, expected the two of a key"));
    }
    if (shuffle) options.shuffle = key_of("minibatches", (*shuffle)[0], (*shuffle)[1]);
    const detail::training_order order(rollout, table<double>("minibatches", "advantages", advantages),
                                       table<double>("minibatches", "weights", weights), options);
    indices pieces, states, offsets{0}, rows;
    std::vector<double> gains, weighted;
    for (const auto& piece : order.pieces()) {
      pieces.insert(pieces.end(),
                    {piece.first, piece.count, order.rows_of_update(piece.update), index_t{piece.last}});
      for (index_t i = piece.first; i < piece.first + piece.count; ++i) {
        states.push_back(rollout.row(order.rows_of(i)[0]).state);
        for (const index_t row : order.rows_of(i)) {
          rows.push_back(row), gains.push_back(order.advantage(row)), weighted.push_back(order.weight(row));
        }
        offsets.push_back(static_cast<index_t>(rows.size()));
      }
    }
    return std::tuple(table_of(pieces, 4), table_of(states), table_of(offsets), table_of(rows),
                      table_of(gains), table_of(weighted),
                      table_of<std::int64_t>({order.skipped_states(), order.skipped_rows(),
                                              order.left_out_states(), order.left_out_rows()}));
  });
}

/// The fields of rollout_cost, in order, and its forward passes.
Tensor cost(const Tensor& chain, const Tensor& nodes, std::int64_t prompts, std::int64_t dimension,
            std::int64_t element_size, std::int64_t max_batch) {
  return typed([&] {
    forest plan = forest_of("cost", chain, nodes, false, false);
    plan.max_batch = max_batch;
    const rollout_cost c = cost_of(plan, prompts, dimension, element_size);
    return table_of<std::int64_t>({c.model_evaluations, c.model_calls, c.sequential_calls, c.samples,
                                   c.trained_states, c.trained_rows, c.bytes, c.working_bytes,
                                   c.forward_passes()});
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, CPU, m) {
  m.impl("branch_forest", TORCH_BOX(&tempflow::python::branch_forest));
  m.impl("flow_forest", TORCH_BOX(&tempflow::python::flow_forest));
  m.impl("tree_forest", TORCH_BOX(&tempflow::python::tree_forest));
  m.impl("draw_ids", TORCH_BOX(&tempflow::python::draw_ids));
  m.impl("rollout_tables", TORCH_BOX(&tempflow::python::rollout_tables));
  m.impl("groups", TORCH_BOX(&tempflow::python::groups));
  m.impl("fused_rewards", TORCH_BOX(&tempflow::python::fused_rewards));
  m.impl("minibatch_tables", TORCH_BOX(&tempflow::python::minibatch_tables));
  m.impl("cost", TORCH_BOX(&tempflow::python::cost));
}
