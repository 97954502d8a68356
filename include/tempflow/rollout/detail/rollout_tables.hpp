// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Who is who in a rollout: the tables of its rows and samples, which follow from its forest.

#include <cstdint>
#include <span>

#include "tempflow/rollout/detail/forest_layout.hpp"
#include "tempflow/rollout/forest.hpp"
#include "tempflow/rollout/trajectories.hpp"

namespace tempflow::detail {

/// visit(prompt, seed, i) for `count` states of a node from `first` on, in the order they are stored; i: number within
/// the seed.
template <class Visit>
void for_each_state(const forest_node& node, std::span<const index_t> prompts, index_t first, index_t count,
                    const Visit& visit) {
  const index_t of_seed = node.states / node.seeds;
  for (index_t state = first; state < first + count; ++state) {
    visit(prompts[static_cast<std::size_t>(state / node.states)],
          node.first_seed + state / of_seed % node.seeds, state % of_seed);
  }
}

/// As above, for all states.
template <class Visit>
void for_each_state(const forest_node& node, std::span<const index_t> prompts, const Visit& visit) {
  for_each_state(node, prompts, 0, node.states * static_cast<index_t>(prompts.size()), visit);
}

/// The first step that drew noise on the way to a node, or -1.
inline index_t first_step_drawn(const forest& plan, index_t node) {
  index_t step = -1;
  for (; node >= 0; node = plan.node(node).parent) {
    if (plan.node(node).move == forest_move::draw) step = plan.node(node).knot - 1;
  }
  return step;
}

/// A state by its node and its number in it; all prompts' together.
struct forest_state {
  index_t node = -1;
  index_t number = 0;
};

class forest_tables {
 public:
  forest_tables(const forest& plan, const forest_layout& layout, std::span<const index_t> prompts)
      : plan_(plan), layout_(layout), prompts_(prompts), count_(static_cast<index_t>(prompts.size())) {}

  /// Fills the rows, with the log-probs of all draws, and the samples of a rollout.
  template <class Data>
  void fill(std::span<const double> log_probs, Data& result) const {
    for (index_t node = 0; node < nodes(); ++node) {
      if (plan_.node(node).trained) add_rows(node, log_probs, result);
    }
    for (index_t node = 0; node < nodes(); ++node) {
      if (plan_.node(node).finished && !layout_.drawless(node)) add_samples(node, result);
    }
  }

 private:
  index_t nodes() const { return static_cast<index_t>(plan_.nodes().size()); }

  forest_state parent(forest_state at) const {
    const forest_node& node = plan_.node(at.node);
    return {node.parent, at.number / node.children};
  }

  /// The row of the last trained transition up to a state, or -1.
  index_t last_row(forest_state at) const {
    while (at.node >= 0 && !plan_.node(at.node).trained) at = parent(at);
    return at.node < 0 ? -1 : layout_.first_row(at.node) * count_ + at.number;
  }

  template <class Data>
  void add_rows(index_t index, std::span<const double> log_probs, Data& result) const {
    const forest_node& node = plan_.node(index);
    index_t number = 0;
    for_each_state(node, prompts_, [&](index_t prompt, index_t seed, index_t i) {
      const forest_state from = parent({index, number});
      const index_t state = layout_.place(from.node).first * count_ + from.number,
                    successor = layout_.kept(index) ? layout_.place(index).first * count_ + number : -1,
                    step = node.knot - 1;
      result.table.push_back({.state = state,
                              .successor = successor,
                              .step = step,
                              .sample = 0,
                              .samples = 0,
                              .parent = last_row(from),
                              .noise = {.prompt = static_cast<std::uint32_t>(prompt),
                                        .seed = static_cast<std::uint32_t>(seed),
                                        .step = static_cast<std::uint16_t>(step),
                                        .branch = static_cast<std::uint16_t>(node.first_branch + i)}});
      result.log_probs.push_back(
          log_probs[static_cast<std::size_t>(layout_.first_draw(index) * count_ + number)]);
      ++number;
    });
  }

  template <class Data>
  void add_samples(index_t index, Data& result) const {
    const forest_node& node = plan_.node(index);
    const index_t step = first_step_drawn(plan_, index);
    index_t number = 0;
    for_each_state(node, prompts_, [&](index_t prompt, index_t seed, index_t i) {
      const auto sample = static_cast<index_t>(result.identities.size());
      const index_t last = last_row({index, number++});
      result.identities.push_back(
          {.prompt = prompt, .seed = seed, .step = step, .branch = node.first_branch + i, .node = index});
      result.last_rows.push_back(last);
      for (index_t row = last; row >= 0; row = result.table[static_cast<std::size_t>(row)].parent) {
        trajectory_row& led = result.table[static_cast<std::size_t>(row)];
        if (led.samples++ == 0) led.sample = sample;
      }
    });
  }

  const forest& plan_;
  const forest_layout& layout_;
  std::span<const index_t> prompts_;
  index_t count_;
};

}  // namespace tempflow::detail
