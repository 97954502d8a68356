// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a rollout is cut into batches to train on, and what of it is left out.

#include <optional>
#include <vector>

#include "tempflow/core/index.hpp"
#include "tempflow/core/noise.hpp"

namespace tempflow {

/// Whether there is an advantage for each sample or for each row.
enum class advantage_of {
  samples,  ///< one per sample: rows take their sample's
  rows      ///< one per row, as fused_rewards makes them of trees
};

/// What of a rollout is not trained on: in no batch, and in no mean.
struct left_out {
  /// Places among the advantages: samples or rows, whichever these belong to (dead_group_samples).
  std::vector<index_t> advantages = {};
  std::vector<index_t> samples = {};  ///< with the rows that led to no other sample
  std::vector<index_t> rows = {};
  std::vector<index_t> states = {};  ///< with all rows that leave them
};

/// How a rollout is cut into minibatches and optimiser steps.
struct minibatch_options {
  index_t size = 64;  ///< states per batch, at most: what the model sees at once
  /// Optimiser steps. Each trains on all states of its share of each prompt's initial noises, and its loss is a
  /// mean over the rows that leave them. Prompts whose samples share one noise go to a step each. A step that is left
  /// without states has no batch.
  index_t updates = 1;
  std::optional<noise_key> shuffle{};  ///< draws the order; without it states keep the rollout's
  advantage_of advantages = advantage_of::samples;
  /// Leaves out rows of advantage 0 or weight 0, and states that have no others: they change nothing unless the
  /// objective has a KL, with which policy_loss refuses such batches. Means still count them.
  bool skip_zeros = false;
  /// Not trained on, KL included. What is left out does not change how `updates` share out initial noises.
  left_out leave_out = {};
};

}  // namespace tempflow
