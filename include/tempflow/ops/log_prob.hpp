// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The log-prob of given transitions: what a policy with velocity v assigns to the step from x to y.
//
// Traffic (fp32): reads x, v, y: 12 B per element. Bound by memory.

#include <span>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/log_prob.hpp"

namespace tempflow {

/// log_probs[i] = log p(y_i | x_i, v_i) under the transition of row i.
///
/// x, v, y: B x D. steps: one for all rows, or B. log_probs: B doubles. Gives the bits that `step` and
/// `branch_step` gave for the same x, v and y.
///
/// Throws shape_error for extents that differ, schedule_error for a transition without noise.
/// Source: Flow-GRPO, arXiv 2505.05470; sd3_sde_with_logprob.py (sde_step_with_logprob, mean-reduced).
template <backend B, batch_like X, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void log_prob(const B& backend, X&& x, input_batch<T> v, input_batch<T> y,
                              per_row<transition> steps, std::span<double> log_probs,
                              log_prob_convention convention = {}) {
  const batch_view<const T> from = as_view(x);
  detail::check_shape("log_prob", "v", v, from.rows(), from.columns());
  detail::check_shape("log_prob", "y", y, from.rows(), from.columns());
  detail::check_has_elements("log_prob", from.rows(), from.columns());
  detail::check_size("log_prob", "log_probs", log_probs.size(), from.rows());
  const detail::operation_arguments arguments(backend);
  detail::check_transitions(arguments, "log_prob", steps, from.rows(), true);
  detail::execute(arguments, detail::log_prob_op<T>{from, v, y, steps, log_probs, convention});
}

}  // namespace tempflow
