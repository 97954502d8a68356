// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A rollout cut into batches to train on: for (const auto& batch : minibatches(rollout, ...)) { ... }

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/core/noise.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/rollout/detail/rollout.hpp"
#include "tempflow/rollout/trajectories.hpp"

namespace tempflow {

/// What policy_loss needs, plus what the host's forward pass needs. It owns what its views show, together
/// with its copies; copying is cheap.
template <storage_scalar T>
struct minibatch : policy_batch<T> {
  std::span<const double> sigma;    ///< B, noise levels the model is evaluated at
  std::span<const index_t> prompt;  ///< B, prompt ids
  std::span<const index_t> rows;    ///< B, rows of the rollout
  bool completes_update = false;    ///< the optimiser should step after this batch
  std::shared_ptr<const void> storage;
};

/// How a rollout is cut.
struct minibatch_options {
  index_t size = 64;  ///< rows per batch, at most
  /// Optimiser steps. Rows are split evenly and each loss is a mean over its share. More than one needs
  /// `shuffle`: rows come step after step, so each update would see other steps than the next.
  index_t updates = 1;
  std::optional<noise_key> shuffle{};  ///< draws the order of rows; without it they keep the rollout's order
};

/// The batches of a rollout, gathered one at a time. Refers to the rollout.
template <storage_scalar T, class Buffer = batch_buffer<T>>
class minibatch_range {
 public:
  minibatch_range(trajectories<T, Buffer>& rollout, std::span<const double> advantages,
                  std::span<const double> weights, const minibatch_options& options)
      : rollout_(&rollout), options_(options), order_(static_cast<std::size_t>(rollout.rows())) {
    detail::check_size("minibatches", "advantages", advantages.size(), rollout.samples().rows());
    detail::check_size("minibatches", "weights", weights.size(), rollout.steps().steps());
    if (options.size < 1 || options.updates < 1 || options.updates > std::max<index_t>(rollout.rows(), 1)) {
      throw value_error(detail::message("minibatches: size = ", options.size, ", updates = ", options.updates,
                                        " for ", rollout.rows(), " rows"));
    }
    if (options.updates > 1 && !options.shuffle) {
      throw value_error(detail::message("minibatches: updates = ", options.updates,
                                        " without shuffle: each would train on other steps of the chain"));
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
    using iterator_concept = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;

    iterator() = default;
    iterator(minibatch_range* range, std::size_t at) : range_(range), at_(at) {}

    minibatch<T> operator*() const { return range_->gather(at_); }
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

  trajectories<T, Buffer>& rollout() const { return *rollout_; }

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
      for (index_t at = first; at < last;) {
        const index_t count = (std::min)(options_.size, last - at);
        cuts_.push_back({.first = at, .count = count, .mean_over = last - first, .last = at + count == last});
        at += count;
      }
    }
  }

  /// Memory of a batch: used again as soon as no batch shows it.
  struct buffers {
    Buffer x, y;
    std::vector<transition> transitions;
    std::vector<double> old, advantage, weight, sigma;
    std::vector<index_t> prompt, rows;
  };

  minibatch<T> gather(std::size_t at) {
    const piece& cut = cuts_[at];
    if (!buffers_ || buffers_.use_count() > 1) buffers_ = std::make_shared<buffers>();
    buffers& to = *buffers_;
    to.transitions.clear(), to.old.clear(), to.advantage.clear(), to.weight.clear(), to.sigma.clear();
    to.prompt.clear(), to.rows.clear();
    for (index_t i = 0; i < cut.count; ++i) {
      const index_t r = order_[static_cast<std::size_t>(cut.first + i)];
      const auto at_row = static_cast<std::size_t>(r);
      const trajectory_row& row = rollout_->row(r);
      to.transitions.push_back(rollout_->steps()[row.step]);
      to.sigma.push_back(to.transitions.back().sigma);
      to.old.push_back(std::as_const(*rollout_).log_probs()[at_row]);
      to.advantage.push_back(advantages_[at_row]);
      to.weight.push_back(weights_[at_row]);
      to.prompt.push_back(rollout_->identities()[static_cast<std::size_t>(row.sample)].prompt);
      to.rows.push_back(r);
    }
    rollout_->gather(to.rows, to.x, to.y);
    minibatch<T> batch;
    batch.x = to.x.view().slice(0, cut.count);
    batch.y = to.y.view().slice(0, cut.count);
    batch.transitions = to.transitions;
    batch.old_log_probs = to.old;
    batch.advantages = to.advantage;
    batch.weights = to.weight;
    batch.convention = rollout_->convention();
    batch.mean_over = cut.mean_over;
    batch.sigma = to.sigma;
    batch.prompt = to.prompt;
    batch.rows = to.rows;
    batch.completes_update = cut.last;
    batch.storage = buffers_;
    return batch;
  }

  trajectories<T, Buffer>* rollout_;
  minibatch_options options_;
  std::vector<index_t> order_;
  std::vector<double> advantages_, weights_;
  std::vector<piece> cuts_;
  std::shared_ptr<buffers> buffers_;
};

/// Cuts a rollout into batches of at most `options.size` rows.
///
/// advantages: one per sample of the rollout. weights: one per step of its chain (noise_aware_weights,
/// uniform_weights or your own). Each row is in exactly one batch. Losses of the batches of one update add up
/// to a mean over the update's rows, so gradients are accumulated by adding them; step the optimiser when
/// `completes_update` says so.
///
/// Throws shape_error for sizes that do not fit, value_error for a batch size or number of updates below 1,
/// and for several updates without shuffle.
template <storage_scalar T, class Buffer>
minibatch_range<T, Buffer> minibatches(trajectories<T, Buffer>& rollout, std::span<const double> advantages,
                                       std::span<const double> weights,
                                       const minibatch_options& options = {}) {
  return {rollout, advantages, weights, options};
}

}  // namespace tempflow
