// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A rollout cut into batches of states to train on: for (const auto& batch : minibatches(rollout, ...)) { ... }

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/ops/copy_rows.hpp"
#include "tempflow/ops/policy_batch.hpp"
#include "tempflow/rollout/detail/batch_iterator.hpp"
#include "tempflow/rollout/detail/training_order.hpp"
#include "tempflow/rollout/minibatch_options.hpp"
#include "tempflow/rollout/trajectories.hpp"

namespace tempflow {

/// What policy_loss needs, plus what the host's forward pass needs: S states and the R transitions that leave
/// them. It owns what its views show, together with its copies; copying is cheap.
template <storage_scalar T>
struct minibatch : policy_batch<T> {
  std::span<const double> sigma;     ///< S, noise levels the model is evaluated at
  std::span<const index_t> prompts;  ///< S, prompt ids
  std::span<const index_t> states;   ///< S, rows of the rollout's states
  std::span<const index_t> rows;     ///< R, rows of the rollout
  index_t part = 0;                  ///< of joint_minibatches, the range whose batch it is
  bool completes_update = false;     ///< the optimiser should step after this batch
  std::shared_ptr<const void> storage;
};

/// Several of them in one update: joint_minibatches.hpp.
template <storage_scalar T, class Buffer>
class joint_minibatch_range;

/// The batches of a rollout, gathered one at a time. Refers to the rollout.
template <storage_scalar T, class Buffer = batch_buffer<T>>
class minibatch_range {
 public:
  minibatch_range(trajectories<T, Buffer>& rollout, std::span<const double> advantages,
                  std::span<const double> weights, const minibatch_options& options)
      : rollout_(&rollout), order_(rollout, advantages, weights, options) {}

  using value_type = minibatch<T>;
  using iterator = detail::batch_iterator<minibatch_range>;

  /// Throws value_error for a second pass over a rollout that stores no successors.
  iterator begin() {
    if (!rollout_->stores_successors() && *passed_) {
      throw value_error(
          "minibatches: a second pass over a rollout that stores no successors: what is drawn again is on "
          "policy before the first optimiser step alone");
    }
    return {this, 0};
  }
  iterator end() { return {this, order_.pieces().size()}; }

  /// Number of batches.
  index_t size() const { return static_cast<index_t>(order_.pieces().size()); }

  /// States and rows that no batch has, because they teach nothing (minibatch_options::skip_zeros).
  index_t skipped_states() const { return order_.skipped_states(); }
  index_t skipped_rows() const { return order_.skipped_rows(); }

  /// States and rows that neither a batch has nor a mean counts (minibatch_options::leave_out).
  index_t left_out_states() const { return order_.left_out_states(); }
  index_t left_out_rows() const { return order_.left_out_rows(); }

  trajectories<T, Buffer>& rollout() const { return *rollout_; }

 private:
  friend iterator;
  friend class joint_minibatch_range<T, Buffer>;

  /// Memory of a batch: used again as soon as no batch shows it.
  struct buffers {
    Buffer x, y;
    std::vector<transition> transitions;
    std::vector<double> old, advantage, weight, sigma;
    std::vector<index_t> prompts, states, rows, successors, offsets;
    std::vector<noise_id> noise;

    void clear() {
      transitions.clear(), old.clear(), advantage.clear(), weight.clear(), sigma.clear(), prompts.clear();
      states.clear(), rows.clear(), successors.clear(), noise.clear(), offsets.assign(1, 0);
    }
  };

  /// Rows of the rollout's states, in a batch that grows when it must.
  batch_view<const T> gather(std::span<const index_t> rows, Buffer& to) const {
    const Buffer& from = rollout_->state_buffer();
    const auto count = static_cast<index_t>(rows.size());
    if (to.rows() < count) to = from.like(count, from.columns());
    gather_rows(from, rows, to.view().slice(0, count));
    return to.view().slice(0, count);
  }

  minibatch<T> gather(std::size_t at) {
    const auto& piece = order_.pieces()[at];
    if (!buffers_ || buffers_.use_count() > 1) buffers_ = std::make_shared<buffers>();
    buffers& to = *buffers_;
    to.clear();
    const std::span<const double> log_probs = std::as_const(*rollout_).log_probs();
    for (index_t i = piece.first; i < piece.first + piece.count; ++i) {
      const std::span<const index_t> rows = order_.rows_of(i);
      const trajectory_row& first = rollout_->row(rows[0]);
      to.states.push_back(first.state);
      to.transitions.push_back(rollout_->steps()[first.step]);
      to.sigma.push_back(to.transitions.back().sigma);
      to.prompts.push_back(first.noise.prompt);
      for (const index_t r : rows) {
        to.rows.push_back(r);
        to.successors.push_back(rollout_->row(r).successor);
        to.noise.push_back(rollout_->row(r).noise);
        to.old.push_back(log_probs[static_cast<std::size_t>(r)]);
        to.advantage.push_back(order_.advantage(r));
        to.weight.push_back(order_.weight(r));
      }
      to.offsets.push_back(static_cast<index_t>(to.rows.size()));
    }
    minibatch<T> batch;
    batch.x = gather(to.states, to.x);
    if (rollout_->stores_successors()) {
      batch.y = gather(to.successors, to.y);
    } else {
      batch.drawn.emplace(rollout_->key(), std::span<const noise_id>(to.noise), rollout_->antithetic());
    }
    batch.offsets = to.offsets;
    batch.transitions = to.transitions;
    batch.mask = rollout_->mask();
    batch.old_log_probs = to.old;
    batch.advantages = to.advantage;
    batch.weights = to.weight;
    batch.convention = rollout_->convention();
    batch.mean_over = order_.rows_of_update(piece.update);
    batch.sigma = to.sigma;
    batch.prompts = to.prompts;
    batch.states = to.states;
    batch.rows = to.rows;
    batch.completes_update = piece.last;
    batch.without_zeros = order_.skipped_rows() > 0;
    if (piece.last) *passed_ = true;
    batch.storage = buffers_;
    return batch;
  }

  trajectories<T, Buffer>* rollout_;
  detail::training_order order_;
  std::shared_ptr<buffers> buffers_;
  std::shared_ptr<bool> passed_ = std::make_shared<bool>(false);  ///< of the rollout: copies share it
};

/// Cuts a rollout into batches of at most `options.size` states.
///
/// advantages: one per sample of the rollout, or per row (minibatch_options::advantages). weights: one per
/// step of its chain (noise_aware_weights, uniform_weights or your own). Each state is in exactly one batch,
/// with all its rows, but for what options.leave_out leaves out. Losses of the batches of one update add up to a
/// mean over the update's rows, so gradients are accumulated by adding them; step the optimiser when
/// `completes_update` says so. An update of several rollouts: joint_minibatches.hpp.
///
/// Throws shape_error for sizes that do not fit; value_error for a rollout that was released, a batch size or number
/// of updates below 1, more updates than initial noises, or several of a rollout without successors, advantages of
/// samples for rows that led to several, and what is to be left out and is not there.
template <storage_scalar T, class Buffer>
minibatch_range<T, Buffer> minibatches(trajectories<T, Buffer>& rollout, std::span<const double> advantages,
                                       std::span<const double> weights,
                                       const minibatch_options& options = {}) {
  return {rollout, advantages, weights, options};
}

/// As above, without the samples whose reward was excluded (advantage_set::excluded), or rows, of advantages of
/// rows: they are in no batch, and no mean counts them.
template <storage_scalar T, class Buffer>
minibatch_range<T, Buffer> minibatches(trajectories<T, Buffer>& rollout, const advantage_set& advantages,
                                       std::span<const double> weights, minibatch_options options = {}) {
  auto& left_out = options.leave_out.advantages;
  left_out.insert(left_out.end(), advantages.excluded.begin(), advantages.excluded.end());
  return minibatches(rollout, std::span<const double>(advantages.values), weights, options);
}

}  // namespace tempflow
