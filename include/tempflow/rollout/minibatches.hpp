// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A rollout cut into batches to train on: for (const auto& batch : minibatches(rollout, ...)) { ... }

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/core/noise.hpp"
#include "tempflow/detail/rollout.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/rollout/trajectories.hpp"

namespace tempflow {

/// What policy_loss needs, plus what the host's forward pass needs. Valid until the next batch is taken.
template <storage_scalar T>
struct minibatch : policy_batch<T> {
  std::span<const double> sigma;    ///< B, noise levels the model is evaluated at
  std::span<const index_t> prompt;  ///< B, prompt ids
  std::span<const index_t> rows;    ///< B, rows of the rollout
  bool completes_update = false;    ///< the optimiser should step after this batch
};

/// How a rollout is cut.
struct minibatch_options {
  index_t size = 64;    ///< rows a batch, at most
  index_t updates = 1;  ///< optimiser steps; rows are split evenly, each loss is a mean over its share
  std::optional<noise_key> shuffle{};  ///< draws the order of rows; without it they keep the rollout's order
};

/// The batches of a rollout. Refers to the rollout; a range for one pass at a time.
template <storage_scalar T>
class minibatch_range {
 public:
  minibatch_range(trajectories<T>& rollout, std::span<const double> advantages,
                  std::span<const double> weights, const minibatch_options& options)
      : rollout_(&rollout), options_(options), order_(static_cast<std::size_t>(rollout.rows())) {
    detail::check_size("minibatches", "advantages", advantages.size(), rollout.samples().rows());
    detail::check_size("minibatches", "weights", weights.size(), rollout.steps().steps());
    if (options.size < 1 || options.updates < 1 || options.updates > std::max<index_t>(rollout.rows(), 1)) {
      throw value_error(detail::message("minibatches: size = ", options.size, ", updates = ", options.updates,
                                        " for ", rollout.rows(), " rows"));
    }
    for (index_t i = 0; i < rollout.rows(); ++i) {
      advantages_.push_back(advantages[static_cast<std::size_t>(rollout.row(i).sample)]);
      weights_.push_back(weights[static_cast<std::size_t>(rollout.row(i).step)]);
    }
    std::iota(order_.begin(), order_.end(), index_t{0});
    if (options.shuffle) shuffle(*options.shuffle);
    cut();
  }

  class iterator {
   public:
    using value_type = minibatch<T>;
    using difference_type = std::ptrdiff_t;

    iterator() = default;
    iterator(minibatch_range* range, std::size_t at) : range_(range), at_(at) {}

    const minibatch<T>& operator*() const { return range_->gather(at_); }
    iterator& operator++() { return ++at_, *this; }
    void operator++(int) { ++at_; }
    bool operator==(const iterator& other) const { return at_ == other.at_; }

   private:
    minibatch_range* range_ = nullptr;
    std::size_t at_ = 0;
  };

  iterator begin() { return {this, 0}; }
  iterator end() { return {this, cuts_.size()}; }

  /// Number of batches.
  index_t size() const { return static_cast<index_t>(cuts_.size()); }

  trajectories<T>& rollout() const { return *rollout_; }

 private:
  struct piece {
    index_t first, count, mean_over;
    bool last;
  };

  /// Fisher-Yates with choices of our own: the same order on every platform.
  void shuffle(noise_key key) {
    for (std::size_t i = order_.size(); i > 1; --i) {
      std::swap(order_[i - 1], order_[uniform_choice(key, static_cast<std::uint32_t>(i), i)]);
    }
  }

  void cut() {
    const index_t rows = rollout_->rows();
    for (index_t u = 0; u < options_.updates; ++u) {
      const index_t first = rows * u / options_.updates, last = rows * (u + 1) / options_.updates;
      for (index_t at = first; at < last; at += options_.size) {
        const index_t count = (std::min)(options_.size, last - at);
        cuts_.push_back({.first = at, .count = count, .mean_over = last - first, .last = at + count == last});
      }
    }
  }

  const minibatch<T>& gather(std::size_t at) {
    const piece& cut = cuts_[at];
    const index_t dimension = rollout_->states().columns();
    if (x_.rows() < cut.count) {
      x_ = batch_buffer<T>((std::min)(options_.size, rollout_->rows()), dimension);
      y_ = batch_buffer<T>(x_.rows(), dimension);
    }
    steps_.clear(), old_.clear(), advantage_.clear(), weight_.clear(), sigma_.clear(), prompt_.clear();
    const auto states = rollout_->states();
    for (index_t i = 0; i < cut.count; ++i) {
      const auto r = static_cast<std::size_t>(order_[static_cast<std::size_t>(cut.first + i)]);
      const trajectory_row& row = rollout_->row(static_cast<index_t>(r));
      std::copy_n(states.row(row.x), dimension, x_.view().row(i));
      std::copy_n(states.row(row.y), dimension, y_.view().row(i));
      steps_.push_back(rollout_->steps()[row.step]);
      sigma_.push_back(steps_.back().sigma);
      old_.push_back(std::as_const(*rollout_).log_probs()[r]);
      advantage_.push_back(advantages_[r]);
      weight_.push_back(weights_[r]);
      prompt_.push_back(rollout_->identities()[static_cast<std::size_t>(row.sample)].prompt);
    }
    batch_.x = x_.view().slice(0, cut.count);
    batch_.y = y_.view().slice(0, cut.count);
    batch_.steps = steps_;
    batch_.old_log_probs = old_;
    batch_.advantages = advantage_;
    batch_.weights = weight_;
    batch_.convention = rollout_->convention();
    batch_.mean_over = cut.mean_over;
    batch_.sigma = sigma_;
    batch_.prompt = prompt_;
    batch_.rows = std::span<const index_t>(order_).subspan(static_cast<std::size_t>(cut.first),
                                                           static_cast<std::size_t>(cut.count));
    batch_.completes_update = cut.last;
    return batch_;
  }

  trajectories<T>* rollout_;
  minibatch_options options_;
  std::vector<index_t> order_;
  std::vector<double> advantages_, weights_;
  std::vector<piece> cuts_;
  batch_buffer<T> x_, y_;
  std::vector<transition> steps_;
  std::vector<double> old_, advantage_, weight_, sigma_;
  std::vector<index_t> prompt_;
  minibatch<T> batch_{};
};

/// Cuts a rollout into batches of at most `options.size` rows.
///
/// advantages: one a sample of the rollout. weights: one a step of its chain (noise_aware_weights,
/// uniform_weights or your own). Each row is in exactly one batch. Losses of the batches of one update add up
/// to a mean over the update's rows, so gradients are accumulated by adding them; step the optimiser when
/// `completes_update` says so.
///
/// Throws shape_error for sizes that do not fit, value_error for a batch size or number of updates below 1.
template <storage_scalar T>
minibatch_range<T> minibatches(trajectories<T>& rollout, std::span<const double> advantages,
                               std::span<const double> weights, const minibatch_options& options = {}) {
  return {rollout, advantages, weights, options};
}

}  // namespace tempflow
