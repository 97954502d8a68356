// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Optimiser steps on several rollouts together, of other dimensions, plans or sizes of batches:
//
//   for (const auto& batch : joint_minibatches(minibatches(small, small_advantages, weights, {.size = 64}),
//                                              minibatches(large, large_advantages, weights, {.size = 16}))) {
//     ...
//     if (batch.completes_update) optimiser.step();  // after the last batch of both
//   }

#include <concepts>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/rollout/detail/batch_iterator.hpp"
#include "tempflow/rollout/minibatches.hpp"

namespace tempflow {

/// The batches of several rollouts, update by update and therein range by range. Refers to the rollouts.
template <storage_scalar T, class Buffer = batch_buffer<T>>
class joint_minibatch_range {
 public:
  using value_type = minibatch<T>;
  using iterator = detail::batch_iterator<joint_minibatch_range>;

  explicit joint_minibatch_range(std::vector<minibatch_range<T, Buffer>> parts) : parts_(std::move(parts)) {
    if (parts_.empty()) throw value_error("joint_minibatches: no minibatches");
    const index_t updates = parts_[0].order_.updates();
    for (std::size_t p = 1; p < parts_.size(); ++p) {
      if (const index_t other = parts_[p].order_.updates(); other != updates) {
        throw value_error(detail::message("joint_minibatches: part ", p, " has updates = ", other,
                                          ", part 0 has ", updates));
      }
    }
    for (index_t u = 0; u < updates; ++u) {
      index_t rows = 0;
      for (std::size_t p = 0; p < parts_.size(); ++p) {
        const auto& order = parts_[p].order_;
        rows += order.rows_of_update(u);
        for (std::size_t i = 0; i < order.pieces().size(); ++i) {
          if (order.pieces()[i].update == u) pieces_.push_back({.part = p, .piece = i, .update = u});
        }
      }
      rows_of_update_.push_back(rows);
    }
  }

  /// Throws as the parts do.
  iterator begin() {
    for (auto& part : parts_) part.begin();
    return {this, 0};
  }
  iterator end() { return {this, pieces_.size()}; }

  /// Number of batches.
  index_t size() const { return static_cast<index_t>(pieces_.size()); }

  /// The ranges, as they were given: `for (auto& part : joint.parts()) rescore(cpu, model, part);`
  std::span<minibatch_range<T, Buffer>> parts() & { return parts_; }

 private:
  friend iterator;

  struct joint_piece {
    std::size_t part, piece;
    index_t update;
  };

  minibatch<T> gather(std::size_t at) {
    const auto& [part, piece, update] = pieces_[at];
    minibatch<T> batch = parts_[part].gather(piece);
    batch.part = static_cast<index_t>(part);
    batch.mean_over = rows_of_update_[static_cast<std::size_t>(update)];
    batch.completes_update = at + 1 == pieces_.size() || pieces_[at + 1].update != update;
    return batch;
  }

  std::vector<minibatch_range<T, Buffer>> parts_;
  std::vector<joint_piece> pieces_;
  std::vector<index_t> rows_of_update_;
};

/// Joins the minibatches of several rollouts: the u-th update of all is one update, whose losses are a mean over all
/// their rows. A batch's states and rows are those of the rollout of its `part`. A pass over the join is one over
/// each range that it was made of.
///
/// Throws value_error for no minibatches, or other numbers of updates.
template <storage_scalar T, class Buffer>
joint_minibatch_range<T, Buffer> joint_minibatches(std::vector<minibatch_range<T, Buffer>> parts) {
  return joint_minibatch_range<T, Buffer>(std::move(parts));
}

/// As above, for ranges written in place.
template <storage_scalar T, class Buffer, std::same_as<minibatch_range<T, Buffer>>... More>
joint_minibatch_range<T, Buffer> joint_minibatches(minibatch_range<T, Buffer> first, More... more) {
  std::vector<minibatch_range<T, Buffer>> parts;
  parts.push_back(std::move(first));
  (parts.push_back(std::move(more)), ...);
  return joint_minibatches(std::move(parts));
}

}  // namespace tempflow
