// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A batch of transitions to train on.

#include <span>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/objective/gaussian.hpp"

namespace tempflow {

/// Transitions to train on: B rows, which may mix steps, branches and prompts.
template <storage_scalar T>
struct policy_batch {
  batch_view<const T> x;                  ///< B x D, states the model was evaluated at
  batch_view<const T> y;                  ///< B x D, states the rollout drew
  per_row<transition> transitions;        ///< one for all rows, or B
  std::span<const double> old_log_probs;  ///< B, of y under the rollout's policy
  std::span<const double> advantages;     ///< B
  per_row<double> weights = 1.0;          ///< timestep weights: one for all rows, or B
  log_prob_convention convention = {};    ///< of old_log_probs, and hence of the new ones
  index_t mean_over = 0;      ///< N; 0 takes B. Gradients accumulated over batches need their total.
  double gradient_scale = 1;  ///< multiplies dL/dv alone: loss scaling for 16-bit gradients
};

}  // namespace tempflow
