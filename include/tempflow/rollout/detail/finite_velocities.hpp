// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a rollout says of a model that returns a number that is not finite.

#include <span>
#include <string>
#include <string_view>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/ops/log_prob.hpp"
#include "tempflow/rollout/detail/forest_layout.hpp"
#include "tempflow/rollout/detail/rollout_tables.hpp"
#include "tempflow/rollout/forest.hpp"

namespace tempflow::detail {

/// Fills a number for each row: finite where the row is. v - v is 0, or NaN where an element is not finite; so is what
/// log_prob makes of it, on every backend, and each element is read once.
template <backend B, storage_scalar T>
void probe_rows(const B& backend, batch_view<const T> v, std::span<double> of_rows) {
  log_prob(backend, v, v, v, transition{.alpha = 1, .beta = 0, .std = 1}, of_rows);
}

/// The first number in a row that is not finite, as text: " v[5] = nan"; empty where there is none.
template <storage_scalar T>
std::string not_finite_in(std::string_view name, batch_view<const T> batch, index_t row) {
  for (index_t e = 0; e < batch.columns(); ++e) {
    const auto value = static_cast<double>(load(batch.row(row)[e]));
    if (!is_finite(value)) return message(" ", name, "[", e, "] = ", value);
  }
  return {};
}

/// Throws for a state whose velocity is not finite.
[[noreturn]] inline void throw_not_finite(const forest& plan, std::span<const index_t> prompts,
                                          forest_state at, std::string_view numbers) {
  const forest_node& node = plan.node(at.node);
  const double sigma = plan.steps().sigmas()[static_cast<std::size_t>(node.knot)];
  std::string who;
  for_each_state(node, prompts, at.number, 1, [&](index_t prompt, index_t seed, index_t i) {
    who = message("prompt ", prompt, ", seed ", seed);
    const index_t step = first_step_drawn(plan, at.node);
    who += step < 0 ? ", which has not branched"
                    : message(", branch ", node.first_branch + i, " of step ", step);
  });
  throw value_error(message("roll_out: the model's velocity is not finite at step ", node.knot,
                            " (sigma = ", sigma, ") for ", who, numbers.empty() ? "" : ":", numbers,
                            "; check_velocities = false lets it pass"));
}

/// Throws for the first of all evaluations of a rollout, in their order, whose probe is not finite.
inline void check_probes(const forest& plan, const forest_layout& layout, std::span<const index_t> prompts,
                         std::span<const double> probes) {
  std::size_t evaluation = 0;
  for (index_t knot = 0; knot < plan.steps().steps(); ++knot) {
    for (const index_t node : layout.leaving(knot)) {
      const index_t states = plan.node(node).states * static_cast<index_t>(prompts.size());
      for (index_t number = 0; number < states; ++number, ++evaluation) {
        if (!is_finite(probes[evaluation])) throw_not_finite(plan, prompts, {node, number}, {});
      }
    }
  }
}

}  // namespace tempflow::detail
