// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// One step of a chain for a batch: y = alpha x + beta v + std z, with the noise drawn in the operation and
// the log-prob of the stored y taken in the same pass.
//
// Traffic (fp32): reads x, v; writes y: 12 B per element, for ode_step too. step is bound by the arithmetic
// of the noise on CPUs, and between that and memory on GPUs; ode_step by memory.

#include <span>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/step.hpp"

namespace tempflow {

/// Draws y ~ N(alpha x + beta v, std^2) row by row and returns the log-prob of what was stored.
///
/// x, v, y: B x D. steps: one for all rows, or B. noise: a key and B ids. log_probs: B doubles, or empty when
/// not wanted; then a row may also be deterministic. The same key and id draw the same noise in every call.
///
/// Throws shape_error for extents that differ or y that shares memory with x or v, schedule_error for a
/// transition that is not finite or has no density although its log-prob is wanted. Source: Flow-GRPO,
/// sd3_sde_with_logprob.py (sde_step_with_logprob), for every dynamics.
template <backend B, batch_like X, velocities_for<storage_of<X>> V, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void step(const B& backend, X&& x, V&& v, per_row<transition> steps, noise_source noise,
                          output_batch<T> y, std::span<double> log_probs,
                          log_prob_convention convention = {}) {
  const auto from = detail::as_input(x);
  const auto velocity = detail::as_input(v);
  const index_t rows = from.rows(), columns = from.columns();
  detail::check_shape("step", "v", velocity, rows, columns);
  detail::check_shape("step", "y", y, rows, columns);
  detail::check_not_in_place("step", from, velocity, y);
  detail::check_noise("step", noise, rows, columns);
  if (!log_probs.empty()) {
    detail::check_size("step", "log_probs", log_probs.size(), rows);
    detail::check_has_elements("step", rows, columns);
  }
  const detail::operation_arguments arguments(backend);
  detail::check_transitions(arguments, "step", steps, rows, !log_probs.empty());
  detail::execute(arguments,
                  detail::step_op<T, storage_of<V>>{from, velocity, y, steps, noise, log_probs, convention});
}

/// Writes the mean alpha x + beta v of each row: a deterministic step. y may be x.
///
/// x, v, y: B x D. steps: one for all rows, or B.
/// Throws shape_error for extents that differ, schedule_error for a transition that is not finite.
template <backend B, batch_like X, velocities_for<storage_of<X>> V, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void ode_step(const B& backend, X&& x, V&& v, per_row<transition> steps, output_batch<T> y) {
  const auto from = detail::as_input(x);
  const auto velocity = detail::as_input(v);
  detail::check_shape("ode_step", "v", velocity, from.rows(), from.columns());
  detail::check_shape("ode_step", "y", y, from.rows(), from.columns());
  detail::check_same_or_apart("ode_step", "y", y, "x", from);
  detail::check_same_or_apart("ode_step", "y", y, "v", velocity);
  const detail::operation_arguments arguments(backend);
  detail::check_transitions(arguments, "ode_step", steps, from.rows(), false);
  detail::execute(arguments, detail::ode_step_op<T, storage_of<V>>{from, velocity, y, steps});
}

}  // namespace tempflow
