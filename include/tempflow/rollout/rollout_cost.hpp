// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a rollout takes, known before it runs.

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/rollout/detail/forest_layout.hpp"
#include "tempflow/rollout/forest.hpp"

namespace tempflow {

/// What a rollout takes, and what training on it takes.
struct rollout_cost {
  index_t model_evaluations = 0;  ///< rows given to the model
  index_t model_calls = 0;        ///< batched calls, with max_batch as the limit of each
  index_t sequential_calls = 0;   ///< calls if each node of the forest were evaluated by itself
  index_t samples = 0;            ///< samples to score; those of trunks are not among them
  index_t trained_states = 0;     ///< states to train on: the model's rows in an epoch
  index_t trained_rows = 0;       ///< transitions that leave them
  index_t bytes = 0;              ///< of states, samples and log-probs that the result keeps
  /// Of what lives while it runs: the velocities of a call and the states that it gathers, max_batch rows of each at
  /// most; states on their way that are not kept; and a number per evaluation, where velocities are checked.
  index_t working_bytes = 0;

  /// The rollout and an epoch of training in forward passes of the model; a backward pass counts as two. The
  /// reference policy of a KL takes trained_states more.
  index_t forward_passes() const { return model_evaluations + 3 * trained_states; }
};

/// Cost of a plan for `prompts` prompts of samples of `dimension` elements of `element_size` bytes, and of velocities
/// of `velocity_size` where their type is not that of states (0: it is); without a dimension, bytes are those of log-probs
/// alone. fixed: with fixed elements, which take a call's states besides. Throws what validate throws, and value_error for counts
/// that are not positive or overflow.
inline rollout_cost cost_of(const forest& plan, index_t prompts, index_t dimension = 0,
                            index_t element_size = 4, index_t velocity_size = 0, bool fixed = false) {
  using detail::rollout_memory;
  plan.validate();
  const detail::forest_layout layout(plan);
  const index_t states = layout.rows(rollout_memory::states), samples = layout.rows(rollout_memory::samples),
                trunks = layout.rows(rollout_memory::trunk_samples),
                between = layout.rows(rollout_memory::scratch) + layout.rows(rollout_memory::history);
  rollout_cost total{.model_evaluations = layout.evaluations,
                     .samples = samples,
                     .trained_states = layout.trained_states,
                     .trained_rows = layout.trained_rows};
  const double most = static_cast<double>(3 * layout.evaluations + states + samples + trunks + between);
  if (prompts < 1 || dimension < 0 || element_size < 1 || velocity_size < 0 ||
      static_cast<double>(prompts) * most * (static_cast<double>(dimension) + 1) *
              static_cast<double>(element_size + velocity_size + 64) >
          4e18) {
    throw value_error(detail::message("rollout: ", prompts, " prompts of ", states, " states and ",
                                      samples + trunks, " samples each, ", dimension, " elements of ",
                                      element_size, " bytes: not positive, or too many to count"));
  }
  for (index_t knot = 0; knot < plan.steps().steps(); ++knot) {
    total.model_calls += detail::calls_for(layout.states_at(knot) * prompts, plan.max_batch);
    for (const index_t node : layout.leaving(knot)) {
      total.sequential_calls += detail::calls_for(plan.node(node).states * prompts, plan.max_batch);
    }
  }
  for (index_t* const per_prompt :
       {&total.model_evaluations, &total.samples, &total.trained_states, &total.trained_rows}) {
    *per_prompt *= prompts;
  }
  constexpr auto number = static_cast<index_t>(sizeof(double));
  const bool predicts = velocity_size > 0 && layout.rows(rollout_memory::history) > 0;
  const index_t row = dimension * element_size,
                of_velocity =
                    velocity_size > 0 ? velocity_size + (predicts ? element_size : 0) : element_size,
                of_calls = detail::call_rows((fixed ? layout.largest_call : layout.gathered) * prompts,
                                             plan.max_batch) *
                               row +
                           detail::call_rows(layout.largest_call * prompts, plan.max_batch) * dimension *
                               of_velocity,
                numbers =
                    layout.draws - layout.trained_rows + (plan.check_velocities ? layout.evaluations : 0);
  total.bytes = prompts * ((states + samples + trunks) * row + layout.trained_rows * number);
  total.working_bytes = of_calls + prompts * (between * row + numbers * number);
  return total;
}

}  // namespace tempflow
