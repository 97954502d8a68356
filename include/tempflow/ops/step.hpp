// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// One step of a chain for a batch: y = alpha x + beta v + std z, with the noise drawn in the operation and
// the log-prob of the stored y taken in the same pass. With a mask three operations follow each other: the step,
// put_back, and the log-prob of what is stored then.
//
// Traffic (fp32): reads x, v; writes y: 12 B per element, for ode_step too. step is bound by the arithmetic
// of the noise on CPUs, and between that and memory on GPUs; ode_step by memory.

#include <span>
#include <string_view>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/log_prob.hpp"
#include "tempflow/ops/host/step.hpp"
#include "tempflow/ops/put_back.hpp"

namespace tempflow {
namespace detail {

/// Throws what `step` says.
template <class B, storage_scalar T, storage_scalar V>
void check_step(const operation_arguments<B>& arguments, std::string_view operation, const step_op<T, V>& op,
                const element_mask& mask) {
  const index_t rows = op.x.rows(), columns = op.x.columns();
  check_shape(operation, "v", op.v, rows, columns);
  check_shape(operation, "y", op.y, rows, columns);
  check_not_in_place(operation, op.x, op.v, op.y);
  check_noise(operation, op.noise, rows, columns);
  if (!op.log_probs.empty()) {
    check_size(operation, "log_probs", op.log_probs.size(), rows);
    check_has_elements(operation, rows, columns);
  }
  check_transitions(arguments, operation, op.steps, rows, !op.log_probs.empty());
  check_mask(arguments, operation, mask, rows, columns);
  if (mask.given()) arguments.check_result(operation, "log_probs", op.log_probs.data());
}

/// A step, checked.
template <class B, storage_scalar T, storage_scalar V>
TEMPFLOW_HIDDEN void execute_step(const operation_arguments<B>& arguments, const step_op<T, V>& op,
                                  const element_mask& mask) {
  if (!mask.given()) return execute(arguments, op);
  step_op<T, V> without_scores = op;
  without_scores.log_probs = {};
  execute(arguments, without_scores);
  put_back(arguments, op.x, mask, op.y);
  if (op.log_probs.empty()) return;
  execute(arguments, log_prob_op<T, V>{op.x, op.y, op.v, siblings(op.x.rows()), op.steps, op.log_probs,
                                       op.convention, mask});
}

}  // namespace detail

/// Draws y ~ N(alpha x + beta v, std^2) row by row and returns the log-prob of what was stored.
///
/// x, v, y: B x D. steps: one for all rows, or B. noise: a key and B ids. log_probs: B doubles, or empty when
/// not wanted; then a row may also be deterministic. The same key and id draw the same noise in every call.
///
/// With a mask (one row, or B) the elements that it leaves out stay as x has them, the noise of the others is what it
/// is without one, and log-probs are of these alone, as log_prob has them.
///
/// Throws shape_error for extents that differ or y that shares memory with x or v, schedule_error for a
/// transition that is not finite or has no density although its log-prob is wanted, value_error for a mask that
/// counts no element of a row. Source: Flow-GRPO,
/// sd3_sde_with_logprob.py (sde_step_with_logprob), for every dynamics.
template <backend B, batch_like X, velocities_for<storage_of<X>> V, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void step(const B& backend, X&& x, V&& v, per_row<transition> steps, noise_source noise,
                          output_batch<T> y, std::span<double> log_probs, log_prob_convention convention = {},
                          element_mask mask = {}) {
  const detail::step_op<T, storage_of<V>> op{detail::as_input(x), detail::as_input(v), y, steps, noise,
                                             log_probs,           convention};
  const detail::operation_arguments arguments(backend);
  detail::check_step(arguments, "step", op, mask);
  detail::execute_step(arguments, op, mask);
}

/// Writes the mean alpha x + beta v of each row: a deterministic step. y may be x, unless there is a mask.
///
/// x, v, y: B x D. steps: one for all rows, or B. With a mask (one row, or B) the elements that it leaves out stay
/// as x has them. Throws shape_error for extents that differ, schedule_error for a transition that is not finite,
/// value_error for a mask that counts no element of a row.
template <backend B, batch_like X, velocities_for<storage_of<X>> V, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void ode_step(const B& backend, X&& x, V&& v, per_row<transition> steps, output_batch<T> y,
                              element_mask mask = {}) {
  const auto from = detail::as_input(x);
  const auto velocity = detail::as_input(v);
  detail::check_shape("ode_step", "v", velocity, from.rows(), from.columns());
  detail::check_shape("ode_step", "y", y, from.rows(), from.columns());
  detail::check_same_or_apart("ode_step", "y", y, "x", from);
  detail::check_same_or_apart("ode_step", "y", y, "v", velocity);
  const detail::operation_arguments arguments(backend);
  detail::check_transitions(arguments, "ode_step", steps, from.rows(), false);
  detail::check_mask(arguments, "ode_step", mask, from.rows(), from.columns());
  if (mask.given() && detail::overlap(y, from)) {
    throw shape_error(
        "ode_step: y shares memory with x, which a mask wants back where it leaves elements out");
  }
  detail::execute(arguments, detail::ode_step_op<T, storage_of<V>>{from, velocity, y, steps});
  if (mask.given()) detail::put_back(arguments, from, mask, y);
}

TEMPFLOW_NEEDS_BACKEND(step);
TEMPFLOW_NEEDS_BACKEND(ode_step);

}  // namespace tempflow
