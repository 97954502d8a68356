// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The order in which the states of a rollout are trained on, and where it is cut.

#include <algorithm>
#include <map>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/rollout/detail/rows_left_out.hpp"
#include "tempflow/rollout/minibatch_options.hpp"
#include "tempflow/rollout/trajectories.hpp"

namespace tempflow::detail {

class training_order {
 public:
  /// States [first, first + count) of the order.
  struct piece {
    index_t first, count;
    index_t update;
    bool last;  ///< of the update
  };

  template <class Rollout>
  training_order(const Rollout& rollout, std::span<const double> advantages, std::span<const double> weights,
                 const minibatch_options& options)
      : options_(options) {
    if (rollout.released()) throw value_error("minibatches: the rollout was released or moved away");
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
    collect(rollout, rows_left_out(rollout, options.leave_out, of_rows));
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

  index_t updates() const { return options_.updates; }

  /// What an update's losses are a mean over.
  index_t rows_of_update(index_t update) const { return rows_of_update_[at(update)]; }

  index_t skipped_states() const { return skipped_states_; }
  index_t skipped_rows() const { return skipped_rows_; }
  index_t left_out_states() const { return left_out_states_; }
  index_t left_out_rows() const { return left_out_rows_; }

 private:
  struct state {
    index_t tree;
    std::vector<index_t> rows;
    index_t counted = 0;  ///< rows that means are taken over: skipped ones too
  };

  static std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

  /// The states in the rollout's order, each with its rows; its trees are numbered as they come.
  template <class Rollout>
  void collect(const Rollout& rollout, const std::vector<bool>& left_out) {
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
      if (left_out[at(i)]) {
        ++left_out_rows_;
        continue;
      }
      ++from.counted;
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
        rows += states_[s].counted;
        if (states_[s].rows.empty()) {
          ++(states_[s].counted == 0 ? left_out_states_ : skipped_states_);
        } else {
          order_.push_back(static_cast<index_t>(s));
        }
      }
      rows_of_update_.push_back(rows);
      shuffle(std::span(order_).subspan(at(first)), static_cast<std::uint32_t>(first));
      const auto end = static_cast<index_t>(order_.size());
      for (index_t next = first, count = 0; next < end; next += count) {
        count = (std::min)(options_.size, end - next);
        pieces_.push_back({.first = next, .count = count, .update = u, .last = next + count == end});
      }
    }
  }

  minibatch_options options_;
  std::vector<double> advantages_, weights_;
  std::vector<state> states_;
  std::vector<index_t> order_, prompt_of_;  ///< states as they come; the prompt of each tree
  std::vector<index_t> rows_of_update_;
  std::vector<piece> pieces_;
  index_t trees_ = 0, skipped_states_ = 0, skipped_rows_ = 0, left_out_states_ = 0, left_out_rows_ = 0;
};

}  // namespace tempflow::detail
