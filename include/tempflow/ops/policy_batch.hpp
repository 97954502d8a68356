// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A batch of transitions to train on, by the states that they leave.

#include <optional>
#include <span>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/element_mask.hpp"
#include "tempflow/core/noise_source.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/objective/gaussian.hpp"

namespace tempflow {

/// Transitions to train on: R rows that leave S states, which may mix steps, branches and prompts.
///
/// Siblings (explorations of a state) share x, step and prompt, and with them the model's velocity: a batch of states
/// asks for it once, and its gradient with respect to it is the sum over them. Rows offsets[s] to offsets[s + 1] leave
/// state s, from 0 to R; any number of them, none included.
///
/// **Masks.** Elements that a mask leaves out (a first frame that is given, padding) enter neither sums nor means,
/// and get a gradient of zero. Losses take them with objectives of the general form (as_row_objective).
///
/// **Drawn again instead of stored.** With `drawn` and without y a batch is on policy by definition: y - alpha x -
/// beta v is std z, the log-prob is the old one, the ratio exactly 1; x is not read, and v for the KL alone. This
/// is right for the first update on a rollout, at the parameters that it was drawn with, and for no other. From the
/// stored form it differs by what y lost when it was rounded to its storage type.
template <storage_scalar T>
struct policy_batch {
  batch_view<const T> x;                  ///< S x D, states the model was evaluated at
  batch_view<const T> y;                  ///< R x D, states the rollout drew
  std::span<const index_t> offsets = {};  ///< S + 1, in the host's memory; empty: one row each
  per_row<transition> transitions;        ///< one for all states, or S
  element_mask mask = {};                 ///< elements that count, for all states or for each; {}: all
  std::span<const double> old_log_probs;  ///< R, of y under the rollout's policy
  std::span<const double> advantages;     ///< R
  per_row<double> weights = 1.0;          ///< timestep weights, none negative: one for all rows, or R
  log_prob_convention convention = {};    ///< of old_log_probs, and hence of the new ones
  index_t mean_over = 0;       ///< N; 0 takes R. Gradients accumulated over batches need their total.
  double gradient_scale = 1;   ///< multiplies dL/dv alone: loss scaling for 16-bit gradients
  bool without_zeros = false;  ///< rows of advantage or weight 0 were left out: no KL may miss them
  std::optional<noise_source> drawn = {};  ///< in place of y: key and R ids that the rollout drew with
};

}  // namespace tempflow
