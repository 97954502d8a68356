// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What plans share: checks of their fields, and the fields that a forest has too.

#include <span>
#include <string_view>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/rollout/forest.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow::detail {

inline void check_at_least(std::string_view field, index_t value, index_t least) {
  if (value < least) throw value_error(message(field, " = ", value, ", must be at least ", least));
}

/// The listed steps, or the chain's trainable ones where none are.
inline std::vector<index_t> listed_or_trainable(const std::vector<index_t>& listed, const chain& steps) {
  return listed.empty() ? steps.trainable_steps() : listed;
}

/// Listed steps ascend, lie on the chain and draw noise.
inline void check_drawing_steps(std::string_view plan, std::string_view what, std::span<const index_t> listed,
                                const chain& steps) {
  if (listed.empty()) {
    throw schedule_error(message(plan, ": no ", what, "s on a chain of ", steps.steps(), " steps"));
  }
  check_step_list(listed, steps.steps());
  for (const index_t i : listed) {
    if (!steps[i].stochastic()) {
      throw schedule_error(message(plan, ": ", what, " ", i, " draws no noise (std = 0)"));
    }
  }
}

/// check_drawing_steps of a field that is the chain's trainable steps where it is empty.
inline void check_default_steps(std::string_view plan, std::string_view what, std::string_view field,
                                std::span<const index_t> chosen, const chain& steps) {
  const auto drawing = steps.stochastic_steps();
  if (chosen.empty() && drawing.size() == 1) {
    throw schedule_error(
        message(plan, ": no ", what, "s on a chain of ", steps.steps(), " steps: only the last, ", drawing[0],
                ", draws noise, and it is left out unless it is listed: ", field, " = {", drawing[0], "}"));
  }
  check_drawing_steps(plan, what, chosen, steps);
}

/// A product of counts below 2^32.
inline index_t checked_product(std::string_view plan, index_t seeds, index_t each) {
  constexpr index_t limit = index_t{1} << 32;
  if (seeds < 0 || seeds > limit || each > limit || seeds * each > limit) {
    throw value_error(message(plan, ": ", seeds, " seeds of ", each, " branches are too many to number"));
  }
  return seeds * each;
}

/// A forest on a chain with the fields that it shares with a plan.
template <class Plan>
forest forest_of(const Plan& fields, const chain& steps) {
  forest plan(steps);
  plan.max_batch = fields.max_batch;
  plan.max_bytes = fields.max_bytes;
  plan.check_velocities = fields.check_velocities;
  plan.convention = fields.convention;
  plan.antithetic = fields.antithetic;
  plan.redraw = fields.redraw;
  return plan;
}

}  // namespace tempflow::detail
