// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The order in which the states of a rollout are trained on, and where it is cut.

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/rollout/trajectories.hpp"

namespace tempflow {

/// What advantages belong to.
enum class advantage_of {
  samples,  ///< one per sample: rows take their sample's
  rows      ///< one per row, as fused_rewards makes them of trees
};

/// How a rollout is cut.
struct minibatch_options {
  index_t size = 64;  ///< states per batch, at most: what the model sees at once
  /// Optimiser steps. Each trains on all states of its share of each prompt's initial noises, and its loss is a
  /// mean over the rows that leave them. Prompts whose samples share one noise go to a step each.
  index_t updates = 1;
  std::optional<noise_key> shuffle{};  ///< draws the order; without it states keep the rollout's
  advantage_of advantages = advantage_of::samples;
  /// Leaves out rows of advantage 0 or weight 0, and states that have no others: they change nothing unless the
  /// objective has a KL, with which policy_loss refuses such batches. Means still count them. An update that is
  /// left without states has no batch.
  bool skip_zeros = false;
};

namespace detail {

class training_order {
 public:
  /// States [first, first + count) of the order.
  struct piece {
    index_t first, count;
    index_t mean_over;  ///< rows of the update
    bool last;          ///< of the update
  };

  template <class Rollout>
  training_order(const Rollout& rollout, std::span<const double> advantages, std::span<const double> weights,
                 const minibatch_options& options)
      : options_(options) {
    const bool of_rows = options.advantages == advantage_of::rows;
    check_size("minibatches", "advantages", advantages.size(),
               of_rows ? rollout.rows() : rollout.samples().rows());
    check_size("minibatches", "weights", weights.size(), rollout.steps().steps());
    for (index_t i = 0; i < rollout.rows(); ++i) {
      const trajectory_row& row = rollout.row(i);
      if (!of_rows && row.samples != 1) {
        throw value_error(message("minibatches: row ", i, " led to ", row.samples,
                                  " samples; fuse their rewards and give advantages of rows"));
      }
      advantages_.push_back(advantages[at(of_rows ? i : row.sample)]);
      weights_.push_back(weights[at(row.step)]);
    }
    collect(rollout);
    if (!rollout.stores_successors() && options.updates > 1) {
      throw value_error(message("minibatches: updates = ", options.updates, " of a rollout that stores no ",
                                "successors: what is drawn again is on policy in the first alone"));
    }
    if (options.size < 1 || options.updates < 1 || options.updates > (std::max)(trees_, index_t{1})) {
      throw value_error(message("minibatches: size = ", options.size, ", updates = ", options.updates,
                                " for ", trees_, " initial noises"));
    }
    arrange();
  }

  const std::vector<piece>& pieces() const { return pieces_; }

  /// Rows of the i-th state of the order.
  std::span<const index_t> rows_of(index_t i) const { return states_[at(order_[at(i)])].rows; }
  double advantage(index_t row) const { return advantages_[at(row)]; }
  double weight(index_t row) const { return weights_[at(row)]; }

  index_t skipped_states() const { return skipped_states_; }
  index_t skipped_rows() const { return skipped_rows_; }

 private:
  struct state {
    index_t tree;
    std::vector<index_t> rows;
    index_t all_rows = 0;  ///< skipped ones too
  };

  static std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

  /// The states in the rollout's order, each with its rows; its trees are numbered as they come.
  template <class Rollout>
  void collect(const Rollout& rollout) {
    std::vector<index_t> state_of(at(rollout.states().rows()), -1);
    std::map<std::pair<index_t, index_t>, index_t> tree_of;  // by prompt and seed
    for (index_t i = 0; i < rollout.rows(); ++i) {
      const trajectory_row& row = rollout.row(i);
      index_t& number = state_of[at(row.state)];
      if (number < 0) {
        const auto [tree, is_new] = tree_of.try_emplace({row.noise.prompt, row.noise.seed}, trees_);
        if (is_new) prompt_of_.push_back(row.noise.prompt), ++trees_;
        number = static_cast<index_t>(states_.size());
        states_.push_back({.tree = tree->second, .rows = {}});
      }
      state& from = states_[at(number)];
      ++from.all_rows;
      if (options_.skip_zeros && (advantage(i) == 0 || weight(i) == 0)) {
        ++skipped_rows_;
      } else {
        from.rows.push_back(i);
      }
    }
  }

  /// Fisher-Yates with choices of our own, the same on every platform; `first`: of the choices' numbers.
  void shuffle(std::span<index_t> order, std::uint32_t first) const {
    if (!options_.shuffle) return;
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1],
                order[uniform_choice(*options_.shuffle, first + static_cast<std::uint32_t>(i), i)]);
    }
  }

  /// Deals each prompt's trees out to the updates, and cuts the states of each.
  void arrange() {
    std::vector<index_t> trees(at(trees_)), update_of(at(trees_));
    std::iota(trees.begin(), trees.end(), index_t{0});
    if (options_.updates > 1) shuffle(trees, 0x80000000u);
    std::ranges::stable_sort(trees, {}, [&](index_t tree) { return prompt_of_[at(tree)]; });
    for (index_t t = 0; t < trees_; ++t) update_of[at(trees[at(t)])] = t % options_.updates;
    for (index_t u = 0; u < options_.updates; ++u) {
      const auto first = static_cast<index_t>(order_.size());
      index_t rows = 0;
      for (std::size_t s = 0; s < states_.size(); ++s) {
        if (update_of[at(states_[s].tree)] != u) continue;
        rows += states_[s].all_rows;
        if (states_[s].rows.empty()) {
          ++skipped_states_;
        } else {
          order_.push_back(static_cast<index_t>(s));
        }
      }
      shuffle(std::span(order_).subspan(at(first)), static_cast<std::uint32_t>(first));
      const auto end = static_cast<index_t>(order_.size());
      for (index_t next = first, count = 0; next < end; next += count) {
        count = (std::min)(options_.size, end - next);
        pieces_.push_back({.first = next, .count = count, .mean_over = rows, .last = next + count == end});
      }
    }
  }

  minibatch_options options_;
  std::vector<double> advantages_, weights_;
  std::vector<state> states_;
  std::vector<index_t> order_, prompt_of_;  ///< states as they come; the prompt of each tree
  std::vector<piece> pieces_;
  index_t trees_ = 0, skipped_states_ = 0, skipped_rows_ = 0;
};

}  // namespace detail
}  // namespace tempflow
