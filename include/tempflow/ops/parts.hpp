// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Samples of several parts, each with transitions and log-probs of its own: video and audio on schedules of their
// own, or the actions of a chunk. A part of a batch is a batch (batch_view::columns), so these are loops over the
// operations, with all parts checked before the first is written; all other operations take parts in such a loop,
// too.
//
//   const tf::sample_parts parts({{0, video}, {video, audio}}, video + audio);
//   tf::step_parts(cpu, x, v, parts, transitions, {key, ids}, y, log_probs);    // log_probs: 2 B, video's first
//   tf::joint_log_probs(log_probs, weights, joint);

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tempflow/core/numeric.hpp"
#include "tempflow/core/sample_parts.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/log_prob.hpp"
#include "tempflow/ops/step.hpp"

namespace tempflow {
namespace detail {

/// "step_parts, part 1": whose arguments an error is about.
inline std::string part_name(std::string_view operation, std::size_t part) {
  return message(operation, ", part ", part);
}

/// One entry for each part, and a number for each row of each part.
inline void check_parts(std::string_view operation, const sample_parts& parts, std::size_t steps,
                        std::size_t log_probs, index_t rows, index_t columns) {
  if (parts.columns() != columns) {
    throw shape_error(
        message(operation, ": the parts are of rows of ", parts.columns(), " elements, x has ", columns));
  }
  check_size(operation, "transitions", steps, static_cast<index_t>(parts.size()));
  check_size(operation, "log_probs", log_probs, static_cast<index_t>(parts.size()) * rows);
}

}  // namespace detail

/// `step` for each part: y of the part is drawn by steps[part], and log_probs[part B + i] is that of row i's.
///
/// x, v, y: B x D, the row that the parts are of. steps: for each part what `step` takes. log_probs: parts x B
/// doubles, or empty. mask: of the whole row. The noise is the whole row's: element e draws what it draws in one
/// step of all, so each part begins at a multiple of 4. What is in no part of y is not written. Throws as `step`,
/// naming the part, before anything is written.
template <backend B, batch_like X, velocities_for<storage_of<X>> V, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void step_parts(const B& backend, X&& x, V&& v, const sample_parts& parts,
                                std::span<const per_row<transition>> steps, noise_source noise,
                                output_batch<T> y, std::span<double> log_probs,
                                log_prob_convention convention = {}, element_mask mask = {}) {
  constexpr auto operation = "step_parts";
  const auto from = detail::as_input(x);
  const auto velocity = detail::as_input(v);
  const index_t rows = from.rows(), columns = from.columns();
  detail::check_shape(operation, "v", velocity, rows, columns);
  detail::check_shape(operation, "y", y, rows, columns);
  detail::check_not_in_place(operation, from, velocity, y);
  const auto count = static_cast<std::size_t>(rows);
  detail::check_parts(operation, parts, steps.size(),
                      log_probs.empty() ? parts.size() * count : log_probs.size(), rows, columns);
  const detail::operation_arguments arguments(backend);
  detail::check_mask(arguments, operation, mask, rows, columns);
  const auto op_of = [&](std::size_t p) {
    const auto [first, length] = parts[p];
    return detail::step_op<T, storage_of<V>>{
        from.columns(first, length),
        velocity.columns(first, length),
        y.columns(first, length),
        steps[p],
        noise.part_from(first),
        log_probs.empty() ? log_probs : log_probs.subspan(p * count, count),
        convention};
  };
  const auto mask_of = [&](std::size_t p) { return mask.columns(parts[p].first, parts[p].count); };
  for (std::size_t p = 0; p < parts.size(); ++p) {
    detail::check_step(arguments, detail::part_name(operation, p), op_of(p), mask_of(p));
  }
  for (std::size_t p = 0; p < parts.size(); ++p) detail::execute_step(arguments, op_of(p), mask_of(p));
}

/// `log_prob` for each part, as step_parts gave them: the bits are its.
///
/// x, v, y: B x D, the row that the parts are of. steps: for each part what `log_prob` takes. log_probs: parts x B
/// doubles. Parts may begin anywhere. Throws as `log_prob`, naming the part, before anything is written.
template <backend B, batch_like X, velocities_for<storage_of<X>> V, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void log_prob_parts(const B& backend, X&& x, V&& v, input_batch<T> y,
                                    const sample_parts& parts, std::span<const per_row<transition>> steps,
                                    std::span<double> log_probs, log_prob_convention convention = {},
                                    element_mask mask = {}) {
  constexpr auto operation = "log_prob_parts";
  const auto from = detail::as_input(x);
  const auto velocity = detail::as_input(v);
  const index_t rows = from.rows(), columns = from.columns();
  detail::check_shape(operation, "v", velocity, rows, columns);
  detail::check_shape(operation, "y", y, rows, columns);
  detail::check_parts(operation, parts, steps.size(), log_probs.size(), rows, columns);
  const detail::operation_arguments arguments(backend);
  detail::check_mask(arguments, operation, mask, rows, columns);
  const auto count = static_cast<std::size_t>(rows);
  const auto op_of = [&](std::size_t p) {
    const auto [first, length] = parts[p];
    return detail::log_prob_op<T, storage_of<V>>{from.columns(first, length),
                                                 y.columns(first, length),
                                                 velocity.columns(first, length),
                                                 detail::siblings(rows),
                                                 steps[p],
                                                 log_probs.subspan(p * count, count),
                                                 convention,
                                                 mask.columns(first, length)};
  };
  for (std::size_t p = 0; p < parts.size(); ++p) {
    detail::check_log_prob(arguments, detail::part_name(operation, p), op_of(p));
  }
  for (std::size_t p = 0; p < parts.size(); ++p) detail::execute(arguments, op_of(p));
}

/// joint[i] = sum over the parts p of weights[p] log_probs[p B + i], in their order: what a ratio of the whole
/// sample is taken of. All in host memory, as vectors of doubles are.
///
/// log_probs: parts x B. weights: one for each part; part sizes over D make the mean over all elements of the parts'
/// means. joint: B. Throws shape_error for sizes that differ, value_error for a weight that is not finite.
inline void joint_log_probs(std::span<const double> log_probs, std::span<const double> weights,
                            std::span<double> joint) {
  detail::check_size("joint_log_probs", "log_probs", log_probs.size(),
                     static_cast<index_t>(weights.size() * joint.size()));
  for (std::size_t p = 0; p < weights.size(); ++p) {
    if (!is_finite(weights[p])) {
      throw value_error(detail::message("joint_log_probs: weights[", p, "] = ", weights[p]));
    }
  }
  for (std::size_t i = 0; i < joint.size(); ++i) {
    double sum = 0;
    for (std::size_t p = 0; p < weights.size(); ++p) {
      sum = fused_multiply_add(weights[p], log_probs[p * joint.size() + i], sum);
    }
    joint[i] = sum;
  }
}

TEMPFLOW_NEEDS_BACKEND(step_parts);
TEMPFLOW_NEEDS_BACKEND(log_prob_parts);

}  // namespace tempflow
