// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where the states of a forest lie while it is rolled out, and what that costs. States to train on are kept;
// a trajectory that the ODE completes moves within the row of its sample; the rest lies in scratch
// rows that are used again. All counts are per prompt.

#include <algorithm>
#include <span>
#include <vector>

#include "tempflow/rollout/forest.hpp"

namespace tempflow::detail {

/// The batches of a rollout.
enum class rollout_memory { states, samples, trunk_samples, scratch, history };

/// Rows of one of them.
struct rollout_place {
  rollout_memory memory = rollout_memory::scratch;
  index_t first = 0;
};

class forest_layout {
 public:
  explicit forest_layout(const forest& plan)
      : nodes_(plan.nodes()),
        places_(nodes_.size()),
        samples_(nodes_.size()),
        first_draws_(nodes_.size()),
        first_rows_(nodes_.size()),
        histories_(nodes_.size(), -1),
        successors_(nodes_.size()),
        leaving_(static_cast<std::size_t>(plan.steps().steps())) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const forest_node& node = nodes_[i];
      if (node.parent >= 0) successors_[static_cast<std::size_t>(node.parent)].push_back(as_index(i));
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!successors_[i].empty()) leaving_[static_cast<std::size_t>(nodes_[i].knot)].push_back(as_index(i));
    }
    place_results(plan.redraw);
    place_scratch();
    place_histories();
  }

  rollout_place place(index_t node) const { return places_[at(node)]; }

  /// Where the sample of a finished node lies; not always where the node does.
  rollout_place sample(index_t node) const { return samples_[at(node)]; }

  /// Among the log-probs of all draws, and among the rows to train on: of a node's first state.
  index_t first_draw(index_t node) const { return first_draws_[at(node)]; }
  index_t first_row(index_t node) const { return first_rows_[at(node)]; }

  /// Draws whose log-probs are taken: those to train on, and those that branch_step takes anyway.
  bool scored(index_t node) const {
    const forest_node& drawn = nodes_[at(node)];
    return drawn.move == forest_move::draw && (drawn.trained || drawn.children > 1);
  }

  const std::vector<index_t>& successors(index_t node) const { return successors_[at(node)]; }

  /// Nodes at a knot that move on.
  const std::vector<index_t>& leaving(index_t knot) const { return leaving_[at(knot)]; }

  /// Where a node's states keep what their trajectories predicted before; first = -1: they need not.
  rollout_place history(index_t node) const { return {rollout_memory::history, histories_[at(node)]}; }

  /// States to train on stay where a transition to train on leaves or reaches them.
  bool kept(index_t node) const { return place(node).memory == rollout_memory::states; }

  /// True when no draw lies behind a node: it is its initial noise's own sample.
  bool drawless(index_t node) const {
    while (node >= 0 && nodes_[at(node)].move != forest_move::draw) node = nodes_[at(node)].parent;
    return node < 0;
  }

  index_t states_at(index_t knot) const {
    index_t total = 0;
    for (const index_t node : leaving(knot)) total += nodes_[at(node)].states;
    return total;
  }

  // Rows of the batches.
  index_t rows(rollout_memory memory) const { return rows_[static_cast<std::size_t>(memory)]; }
  index_t evaluations = 0;   ///< of the model
  index_t largest_call = 0;  ///< states that the model sees in one call, without a limit
  index_t gathered = 0;      ///< of them, the most that come from several nodes
  index_t draws = 0;         ///< of which log-probs are taken
  index_t trained_rows = 0, trained_states = 0;

 private:
  static index_t as_index(std::size_t i) { return static_cast<index_t>(i); }
  static std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

  index_t take(rollout_memory memory, index_t rows) {
    index_t& end = rows_[static_cast<std::size_t>(memory)];
    return (end += rows) - rows;
  }

  /// Kept states and samples, in the order of the nodes; then the completion of each sample.
  void place_results(bool redraw) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const forest_node& node = nodes_[i];
      first_draws_[i] = draws;
      first_rows_[i] = trained_rows;
      if (scored(as_index(i))) draws += node.states;
      if (node.trained) trained_rows += node.states;
      const bool leads_on =
          std::ranges::any_of(successors_[i], [&](index_t next) { return nodes_[at(next)].trained; });
      if (leads_on) trained_states += node.states;
      if (node.finished) {
        const auto memory = drawless(as_index(i)) ? rollout_memory::trunk_samples : rollout_memory::samples;
        samples_[i] = {memory, take(memory, node.states)};
      }
      if (leads_on || (node.trained && !redraw)) {
        places_[i] = {rollout_memory::states, take(rollout_memory::states, node.states)};
      }
    }
    for (std::size_t i = nodes_.size(); i-- > 0;) {
      if (kept(as_index(i))) continue;
      if (nodes_[i].finished) {
        places_[i] = samples_[i];
      } else if (const index_t next = only_ode_successor(i); next >= 0 && !kept(next)) {
        places_[i] = places_[at(next)];
      }
    }
  }

  index_t only_ode_successor(std::size_t node) const {
    const auto& next = successors_[node];
    return next.size() == 1 && nodes_[at(next[0])].move == forest_move::ode ? next[0] : -1;
  }

  /// Knot after knot: a place is free once its states have moved on.
  void place_scratch() {
    struct slot {
      index_t first, states;
      bool free;
    };
    std::vector<slot> slots;
    const auto in_scratch = [&](index_t node) { return places_[at(node)].memory == rollout_memory::scratch; };
    const auto allocate = [&](index_t node) {
      if (!in_scratch(node)) return;
      const index_t states = nodes_[at(node)].states;
      for (slot& s : slots) {
        if (!s.free || s.states != states) continue;
        s.free = false;
        places_[at(node)].first = s.first;
        return;
      }
      slots.push_back({take(rollout_memory::scratch, states), states, false});
      places_[at(node)].first = slots.back().first;
    };
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].move == forest_move::start) allocate(as_index(i));
    }
    for (index_t knot = 0; knot < as_index(leaving_.size()); ++knot) {
      for (const index_t node : leaving(knot)) {
        const index_t next = only_ode_successor(at(node));
        if (in_scratch(node) && next >= 0 && in_scratch(next)) {
          places_[at(next)] = places_[at(node)];
          continue;
        }
        for (const index_t successor : successors(node)) allocate(successor);
      }
      for (const index_t node : leaving(knot)) {
        const index_t next = only_ode_successor(at(node));
        if (!in_scratch(node) || (next >= 0 && in_scratch(next))) continue;
        for (slot& s : slots) s.free = s.free || s.first == places_[at(node)].first;
      }
      evaluations += states_at(knot);
      largest_call = (std::max)(largest_call, states_at(knot));
      if (leaving(knot).size() > 1) gathered = (std::max)(gathered, states_at(knot));
    }
  }

  /// A step of second order that follows one: it takes the history of its node, and may leave its own there.
  void place_histories() {
    const auto looks_back = [&](index_t node) {
      return nodes_[at(node)].solver == ode_solver::dpm_solver_2m;
    };
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const auto reads = [&](std::size_t node) {
        return std::ranges::count_if(successors_[node], looks_back);
      };
      if (!looks_back(as_index(i)) || reads(i) == 0) continue;
      const std::size_t parent = at(nodes_[i].parent);
      histories_[i] = histories_[parent] >= 0 && reads(parent) == 1
                          ? histories_[parent]
                          : take(rollout_memory::history, nodes_[i].states);
    }
  }

  std::span<const forest_node> nodes_;
  std::vector<rollout_place> places_, samples_;
  std::vector<index_t> first_draws_, first_rows_, histories_;
  std::vector<std::vector<index_t>> successors_, leaving_;
  index_t rows_[5] = {};
};

/// The rows of a call for `rows` rows, with max_batch as the limit (0: none).
constexpr index_t call_rows(index_t rows, index_t max_batch) {
  return max_batch == 0 ? rows : (std::min)(rows, max_batch);
}

/// Calls of at most max_batch rows (0: any number) that `rows` rows need.
constexpr index_t calls_for(index_t rows, index_t max_batch) {
  if (rows == 0) return 0;
  return max_batch == 0 ? 1 : 1 + (rows - 1) / max_batch;
}

}  // namespace tempflow::detail
