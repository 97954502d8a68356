// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Batches as a trainer has them: rows of different steps, samplers, prompts and branches.

#include <cstdint>
#include <vector>

#include "support/batches.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/ops/log_prob.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/schedule/chain.hpp"

namespace support {

using tempflow::log_prob_convention;
using tempflow::transition;

inline constexpr tempflow::noise_key test_key{.seed = 2024, .update = 3};

/// Stochastic transitions of every dynamics, from noisy to clean, the near-singular last one of SD3 included.
inline std::vector<transition> stochastic_transitions() {
  std::vector<transition> all;
  const auto add = [&all](const tempflow::chain& steps) {
    for (const index_t i : steps.stochastic_steps()) all.push_back(steps[i]);
  };
  add(tempflow::make_chain(tempflow::sd3_sigmas(10), tempflow::flow_sde{0.7}));
  add(tempflow::make_chain(tempflow::flux_sigmas(4, 4096), tempflow::dance_sde{0.3}));
  add(tempflow::make_chain(tempflow::qwen_image_sigmas(4), tempflow::flow_cps{0.7}));
  add(tempflow::make_chain(tempflow::shifted_linspace_sigmas(4), tempflow::ddim{0.9}));
  return all;
}

/// A transition per row, in another order than the chains'.
inline std::vector<transition> mixed_transitions(index_t rows) {
  const auto all = stochastic_transitions();
  std::vector<transition> mixed;
  for (index_t i = 0; i < rows; ++i) mixed.push_back(all[static_cast<std::size_t>(7 * i) % all.size()]);
  return mixed;
}

/// An identity per row; no two are equal.
inline std::vector<tempflow::noise_id> mixed_ids(index_t rows) {
  std::vector<tempflow::noise_id> ids;
  for (index_t i = 0; i < rows; ++i) {
    ids.push_back({.prompt = static_cast<std::uint32_t>(i / 4),
                   .seed = static_cast<std::uint32_t>(i % 4),
                   .step = static_cast<std::uint16_t>(i % 3),
                   .branch = static_cast<std::uint16_t>(i % 2)});
  }
  return ids;
}

/// Every convention of a log-prob.
inline std::vector<log_prob_convention> all_conventions() {
  using tempflow::log_prob_reduction;
  using tempflow::log_prob_terms;
  std::vector<log_prob_convention> all;
  for (const auto reduction : {log_prob_reduction::mean, log_prob_reduction::sum}) {
    for (const auto terms :
         {log_prob_terms::all, log_prob_terms::without_constants, log_prob_terms::squared_error}) {
      all.push_back({reduction, terms});
    }
  }
  return all;
}

/// A rollout's rows in storage T: states, velocities, drawn next states and their log-probs.
template <class T>
struct drawn_rows {
  std::vector<transition> steps;
  batch_buffer<T> x, v, v_ref, y;
  std::vector<double> log_probs, advantages, weights;
  log_prob_convention convention;

  template <class B>
  drawn_rows(const B& backend, index_t rows, index_t columns, log_prob_convention in = {})
      : steps(mixed_transitions(rows)),
        x(random_batch<T>(rows, columns, 1)),
        v(random_batch<T>(rows, columns, 2)),
        v_ref(random_batch<T>(rows, columns, 3)),
        y(rows, columns),
        log_probs(static_cast<std::size_t>(rows)),
        convention(in) {
    const auto ids = mixed_ids(rows);
    tempflow::step(backend, x.view(), v, steps, {test_key, ids}, y, log_probs, convention);
    numbers source(4);
    advantages = source.take(rows);
    for (index_t i = 0; i < rows; ++i) weights.push_back(1.5 + source.next());
  }

  index_t rows() const { return x.rows(); }

  tempflow::policy_batch<T> batch() const {
    return {.x = x,
            .y = y,
            .transitions = steps,
            .old_log_probs = log_probs,
            .advantages = advantages,
            .weights = weights,
            .convention = convention};
  }
};

}  // namespace support
