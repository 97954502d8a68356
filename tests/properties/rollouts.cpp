// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Any forest, the wavefront against one trajectory at a time; what a rollout says of itself, and its batches.

#include <map>
#include <tuple>

#include "properties/problem.hpp"
#include "properties/property.hpp"
#include "properties/random_forest.hpp"
#include "support/models.hpp"
#include "support/walker.hpp"
#include "tempflow/compiled.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/roll_out.hpp"

namespace properties {
namespace {

using support::row_model;
using tempflow::forest_move;

using rollout = tempflow::trajectories<float>;
using draw_key = std::tuple<index_t, index_t, index_t, index_t>;  // prompt, seed, step, branch

/// Walks to the state `number` (within its prompt) of a node, and compares what was kept on the way.
struct retraced {
  const rollout& found;
  const forest& plan;
  const std::map<draw_key, index_t>& rows;
  index_t dimension, prompt;
  tempflow::noise_key key;

  support::walker<float> to(index_t node, index_t number) const {
    std::vector<std::pair<index_t, index_t>> path;
    for (index_t n = node, i = number; n >= 0; i /= plan.node(n).children, n = plan.node(n).parent)
      path.emplace_back(n, i);
    const auto& root = plan.node(path.back().first);
    const index_t seed = root.first_seed + path.back().second;
    support::walker<float> walker(
        plan.steps(), dimension, key,
        {.prompt = static_cast<std::uint32_t>(prompt), .seed = static_cast<std::uint32_t>(seed)},
        plan.antithetic);
    index_t parent = -1;
    for (std::size_t p = path.size() - 1; p-- > 0;) {
      const auto& here = plan.node(path[p].first);
      const index_t before = plan.node(here.parent).knot;
      if (here.move == forest_move::ode) {
        walker.ode(before, here.knot);
        continue;
      }
      const index_t branch = here.first_branch + path[p].second % (here.states / here.seeds);
      const auto row = here.trained ? rows.find({prompt, seed, before, branch}) : rows.end();
      require(!here.trained || row != rows.end(), "no row of step ", before, ", branch ", branch);
      if (row != rows.end()) {
        const auto& entry = found.row(row->second);
        require(same_bits(walker.x.view(), found.states().slice(entry.state, 1)), "the state of row ",
                row->second);
        require(entry.parent == parent, "the parent of row ", row->second, " is ", entry.parent,
                ", expected ", parent);
        parent = row->second;
      }
      const double log_prob = walker.draw(before, branch);
      if (row == rows.end()) continue;
      const index_t successor = found.row(row->second).successor;
      require(successor < 0 || same_bits(walker.x.view(), found.states().slice(successor, 1)),
              "the successor of row ", row->second);
      require(log_prob == found.log_probs()[at(row->second)], "the log-prob of row ", row->second);
    }
    last_parent = parent;
    return walker;
  }

  mutable index_t last_parent = -1;
};

std::vector<index_t> random_prompts(draw& source) {
  std::vector<index_t> prompts;
  for (index_t n = source.between(1, 3), next = source.between(0, 9); n > 0;
       --n, next += source.between(1, 1000))
    prompts.push_back(next);
  if (source.once_in(2)) std::reverse(prompts.begin(), prompts.end());
  return prompts;
}

void check_against_walks(const forest& plan, const rollout& found, const std::vector<index_t>& prompts,
                         index_t dimension, tempflow::noise_key key) {
  std::map<draw_key, index_t> rows;
  for (index_t i = 0; i < found.rows(); ++i) {
    const auto& id = found.row(i).noise;
    require(rows.emplace(draw_key{id.prompt, id.seed, id.step, id.branch}, i).second,
            "two rows draw one noise");
    require(found.row(i).step == id.step, "the step of row ", i);
  }
  std::vector<index_t> led(at(found.rows()));
  index_t sample = 0, trunk = 0;
  for (index_t node = 0; node < static_cast<index_t>(plan.nodes().size()); ++node) {
    if (!plan.node(node).finished) continue;
    bool draws = false;
    for (index_t n = node; n >= 0; n = plan.node(n).parent)
      draws = draws || plan.node(n).move == forest_move::draw;
    for (const index_t prompt : prompts) {
      for (index_t number = 0; number < plan.node(node).states; ++number) {
        const retraced back{found, plan, rows, dimension, prompt, key};
        const auto walker = back.to(node, number);
        if (!draws) {
          require(same_bits(walker.x.view(), found.trunk_samples().slice(trunk, 1)), "trunk sample ", trunk);
          ++trunk;
          continue;
        }
        require(same_bits(walker.x.view(), found.samples().slice(sample, 1)), "sample ", sample);
        require(
            found.identities()[at(sample)].prompt == prompt && found.identities()[at(sample)].node == node,
            "sample ", sample, " is another's");
        require(found.last_row(sample) == back.last_parent, "the last row of sample ", sample);
        for (index_t row = back.last_parent; row >= 0; row = found.row(row).parent) ++led[at(row)];
        ++sample;
      }
    }
  }
  require(sample == found.samples().rows() && trunk == found.trunk_samples().rows(),
          "samples that nothing leads to");
  for (index_t i = 0; i < found.rows(); ++i)
    require(found.row(i).samples == led[at(i)], "row ", i, " leads to other samples");
}

void check_cost(const forest& plan, const rollout& found, const row_model<float>& model, index_t prompts) {
  const auto cost = tempflow::cost_of(plan, prompts, model.dimension());
  require(cost.model_evaluations == model.evaluations, "cost_of tells ", cost.model_evaluations,
          " evaluations, there were ", model.evaluations);
  require(cost.model_calls == model.calls, "cost_of tells ", cost.model_calls, " calls, there were ",
          model.calls);
  require(cost.samples == found.samples().rows() && cost.trained_rows == found.rows(),
          "cost_of tells other rows or samples");
  require(plan.max_batch == 0 || model.largest_call <= plan.max_batch, "a call of ", model.largest_call,
          " rows");
}

/// Each row is in one batch, with its states.
void check_batches(draw& source, rollout& found) {
  if (found.rows() == 0) return;
  const std::vector<double> advantages(at(found.rows()), 1.0), weights(at(found.steps().steps()), 1.0);
  std::vector<index_t> seen(at(found.rows()));
  auto batches = tempflow::minibatches(
      found, advantages, weights, {.size = source.between(1, 9), .advantages = tempflow::advantage_of::rows});
  for (const auto& batch : batches) {
    const bool each = batch.offsets.empty();
    const index_t states = batch.x.rows();
    for (index_t s = 0; s < states; ++s) {
      const index_t first = each ? s : batch.offsets[at(s)], last = each ? s + 1 : batch.offsets[at(s) + 1];
      for (index_t i = first; i < last; ++i) {
        const index_t row = batch.rows[at(i)];
        ++seen[at(row)];
        const auto& entry = found.row(row);
        require(same_bits(batch.x.slice(s, 1), found.states().slice(entry.state, 1)), "the state of row ",
                row, " in its batch");
        if (entry.successor >= 0 && !batch.drawn)
          require(same_bits(batch.y.slice(i, 1), found.states().slice(entry.successor, 1)),
                  "the successor of row ", row);
        require(batch.old_log_probs[at(i)] == found.log_probs()[at(row)], "the log-prob of row ", row,
                " in its batch");
      }
    }
  }
  for (std::size_t i = 0; i < seen.size(); ++i)
    require(seen[i] == 1, "row ", i, " is in ", seen[i], " batches");
}

bool same(const rollout& a, const rollout& b) {
  return same_bits(a.states(), b.states()) && same_bits(a.samples(), b.samples()) &&
         same_bits(a.trunk_samples(), b.trunk_samples()) && same_bits(a.log_probs(), b.log_probs());
}

void check_rollouts(draw& source) {
  const auto steps = random_chain(source);
  const bool second_order = source.once_in(4);
  forest plan = steps.stochastic_steps().empty() || source.once_in(2)
                    ? random_forest(source, steps, second_order)
                    : random_plan(source, steps);
  const index_t dimension = source.between(1, 40);
  const auto prompts = random_prompts(source);
  const tempflow::noise_key key{static_cast<std::uint32_t>(source.bits()), 3};
  plan.max_batch = source.once_in(2) ? 0 : source.between(1, 12);
  if (source.once_in(4)) plan.redraw = true;
  row_model<float> model(dimension);
  rollout found = tempflow::roll_out(source.cpu(), model, prompts, plan, key);
  check_cost(plan, found, model, static_cast<index_t>(prompts.size()));
  bool steps_of_one = true;
  for (const auto& node : plan.nodes()) steps_of_one = steps_of_one && node.solver == ode_solver::one_step;
  if (steps_of_one) check_against_walks(plan, found, prompts, dimension, key);
  plan.max_batch = source.between(0, 5);
  row_model<float> other(dimension);
  require(same(found, tempflow::roll_out(plain_cpu(), other, prompts, plan, key)),
          "other calls give other bits");
  check_batches(source, found);
}

const property rollouts("rollouts of any forest", check_rollouts);

}  // namespace
}  // namespace properties
