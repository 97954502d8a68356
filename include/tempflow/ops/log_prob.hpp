// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The log-prob of given transitions: what a policy with velocity v assigns to the step from x to y.
//
// Traffic (fp32): reads x, v, y: 12 B per element, of K siblings 8 + 4 K; a mask is 1 B more. Bound by memory.

#include <span>
#include <string_view>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/log_prob.hpp"
#include "tempflow/ops/policy_batch.hpp"

namespace tempflow {
namespace detail {

/// Throws what `log_prob` says, for siblings that have been looked at.
template <class B, storage_scalar T, storage_scalar V>
void check_log_prob(const operation_arguments<B>& arguments, std::string_view operation,
                    const log_prob_op<T, V>& op) {
  const index_t states = op.of.states(), columns = op.x.columns();
  check_shape(operation, "v", op.v, states, columns);
  check_shape(operation, "y", op.y, op.of.rows(), columns);
  check_has_elements(operation, states, columns);
  check_size(operation, "log_probs", op.log_probs.size(), op.of.rows());
  const bool has_density = op.convention.terms != log_prob_terms::squared_error;
  check_transitions(arguments, operation, op.steps, states, has_density);
  check_mask(arguments, operation, op.mask, states, columns);
}

template <class B, storage_scalar T, storage_scalar V>
TEMPFLOW_HIDDEN void log_prob(const operation_arguments<B>& arguments, const log_prob_op<T, V>& op) {
  check_log_prob(arguments, "log_prob", op);
  execute(arguments, op);
}

}  // namespace detail

/// log_probs[i] = log p(y_i | x_i, v_i) under the transition of row i.
///
/// x, v, y: B x D. steps: one for all rows, or B. log_probs: B doubles. Gives the bits that `step` and
/// `branch_step` gave for the same x, v and y.
///
/// With a mask (one row, or B) only the elements that count enter, and their number takes the place of D. The log-prob
/// of a mask that leaves nothing out has the bits of that without one.
///
/// Throws shape_error for extents that differ, schedule_error for a transition without noise (except for squared
/// errors), value_error for a mask that counts no element of a row; one in device memory is not looked at, and the
/// mean over none is NaN. Source: Flow-GRPO, arXiv 2505.05470; sd3_sde_with_logprob.py (sde_step_with_logprob,
/// mean-reduced).
template <backend B, batch_like X, velocities_for<storage_of<X>> V, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void log_prob(const B& backend, X&& x, V&& v, input_batch<T> y, per_row<transition> steps,
                              std::span<double> log_probs, log_prob_convention convention = {},
                              element_mask mask = {}) {
  const auto from = detail::as_input(x);
  detail::log_prob(
      detail::operation_arguments(backend),
      detail::log_prob_op<T, storage_of<V>>{from, y, detail::as_input(v), detail::siblings(from.rows()),
                                            steps, log_probs, convention, mask});
}

/// log_probs[i] = log p(y_i | x_s, v_s) for each transition i of a batch, s the state that it leaves: a rollout
/// scored again with one velocity per state. Gives the bits of the log_prob of the row alone.
///
/// v: S x D. log_probs: R doubles. Of the batch x, y, offsets, transitions, mask and convention are read. Throws as
/// above, and shape_error or memory_error for offsets as policy_loss.
template <backend B, storage_scalar T, velocities_for<T> V>
TEMPFLOW_HIDDEN void log_prob(const B& backend, const policy_batch<T>& batch, V&& v,
                              std::span<double> log_probs) {
  const detail::operation_arguments arguments(backend);
  const auto of =
      detail::check_siblings(arguments, "log_prob", batch.offsets, batch.x.rows(), batch.y.rows());
  detail::log_prob(arguments, detail::log_prob_op<T, storage_of<V>>{batch.x, batch.y, detail::as_input(v), of,
                                                                    batch.transitions, log_probs,
                                                                    batch.convention, batch.mask});
}

TEMPFLOW_NEEDS_BACKEND(log_prob);

}  // namespace tempflow
