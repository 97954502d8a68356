// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loss of a batch of transitions and its gradient with respect to the velocity, in one operation:
//
//   L = 1/N sum_i [ objective(log p_i - log p_old_i, A_i, w_i) + kl_beta KL_i ]
//   dL/dv = c1 r + c2 (v - v_ref),   r = y - alpha x - beta v,   two scalars c1, c2 per row
//
// The host backpropagates dL/dv through its own model; no other graph exists. Derivation: docs/maths.md.
//
// Traffic (fp32): reads x, y, v, with a KL v_ref; writes dL/dv: 16 B per element, 20 with a KL, where a row
// is read once (on policy on CPUs; from compute capability 9.0 on GPUs), else 28 and 36. Bound by memory.

#include <algorithm>
#include <span>
#include <vector>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/batch_like.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/policy_loss.hpp"
#include "tempflow/ops/policy_batch.hpp"

namespace tempflow {
namespace detail {

/// What the losses of a batch are divided by.
template <storage_scalar T>
double policy_mean_over(const policy_batch<T>& batch, index_t rows) {
  return static_cast<double>(batch.mean_over > 0 ? batch.mean_over : (std::max)(rows, index_t{1}));
}

/// policy_loss_rows with its arguments looked at by the caller.
template <class B, storage_scalar T, class Objective, storage_scalar G>
TEMPFLOW_HIDDEN void policy_loss_rows(const operation_arguments<B>& arguments, const policy_batch<T>& batch,
                                      input_batch<T> v, input_batch<T> v_ref, const Objective& objective,
                                      batch_view<G> to, std::span<policy_row> rows) {
  const index_t count = v.rows(), elements = v.columns();
  const auto given = [](const auto& view) {
    return view.data() != nullptr || view.rows() > 0 || view.columns() > 0;
  };
  objective.validate();
  check_shape("policy_loss", "x", batch.x, count, elements);
  check_shape("policy_loss", "y", batch.y, count, elements);
  if (given(v_ref)) check_shape("policy_loss", "v_ref", v_ref, count, elements);
  if (given(to)) check_shape("policy_loss", "gradient", to, count, elements);
  check_has_elements("policy_loss", count, elements);
  check_same_or_apart("policy_loss", "gradient", to, "x", batch.x);
  check_same_or_apart("policy_loss", "gradient", to, "y", batch.y);
  check_same_or_apart("policy_loss", "gradient", to, "v", v);
  check_same_or_apart("policy_loss", "gradient", to, "v_ref", v_ref);
  check_size("policy_loss", "rows", rows.size(), count);
  check_size("policy_loss", "old_log_probs", batch.old_log_probs.size(), count);
  check_size("policy_loss", "advantages", batch.advantages.size(), count);
  check_transitions(arguments, "policy_loss", batch.transitions, count, true);
  check_finite(arguments, "policy_loss", "old_log_probs", batch.old_log_probs, count);
  check_finite(arguments, "policy_loss", "advantages", batch.advantages, count);
  check_finite(arguments, "policy_loss", "weights", batch.weights, count);
  if (objective.kl_beta != 0 && count > 0 && !given(v_ref)) {
    throw shape_error(message("policy_loss: kl_beta = ", double{objective.kl_beta},
                              " needs v_ref, the reference policy's velocity (", count, " x ", elements,
                              ")"));
  }
  if (given(v_ref) && objective.kl_over == kl_denominator::diffusion) {
    check_diffusions(arguments, "policy_loss", batch.transitions, count);
  }
  if (batch.mean_over < 0 || !is_finite(batch.gradient_scale)) {
    throw value_error(
        message("policy_loss: mean_over = ", batch.mean_over, ", gradient_scale = ", batch.gradient_scale));
  }
  const policy_terms<Objective> terms{
      .transitions = batch.transitions,
      .old_log_probs = batch.old_log_probs,
      .advantages = batch.advantages,
      .weights = batch.weights,
      .convention = batch.convention,
      .objective = objective,
      .elements = elements,
      .gradient_factor = batch.gradient_scale / policy_mean_over(batch, count),
      .has_reference = !v_ref.empty()};
  execute(arguments, policy_loss_op<T, G, Objective>{batch.x, batch.y, v, v_ref, terms, to, rows});
}

}  // namespace detail

/// dL/dv of a batch and every row's own numbers: policy_loss without the summary.
///
/// v: B x D, the policy's velocity at batch.x. v_ref: B x D, the reference policy's; {} when the objective
/// has kl_beta = 0 (given all the same, the KL is reported). gradient: B x D in any storage type, or {} for
/// the loss alone; it may be one of the inputs, which it then replaces. rows: B. The bits of a row depend on
/// nothing but the row and N.
///
/// A row whose log-prob, loss, KL or slope is not finite, or whose gradient overflows fp16, gets a zero
/// gradient and finite = false, so that one broken sample cannot poison the weights.
///
/// Throws shape_error for extents that differ, or a gradient that overlaps an input without being it;
/// value_error for old log-probs, advantages, weights, mean_over, gradient_scale or parameters of the
/// objective that make no sense; schedule_error for a transition without noise, or without the diffusion that
/// the KL is asked to use. Source: TempFlow-GRPO, arXiv 2508.04324 (weights: eqs. 7 and 8); Flow-GRPO, arXiv
/// 2505.05470, scripts/train_sd3.py.
template <backend B, storage_scalar T, policy_objective Objective, writable_batch Gradient = batch_view<T>>
TEMPFLOW_HIDDEN void policy_loss_rows(const B& backend, const policy_batch<T>& batch, input_batch<T> v,
                                      input_batch<T> v_ref, const Objective& objective, Gradient&& gradient,
                                      std::span<policy_row> rows) {
  detail::policy_loss_rows(detail::operation_arguments(backend), batch, v, v_ref, objective,
                           as_view(gradient), rows);
}

/// Loss, statistics and dL/dv of a batch; writes every row's own numbers to `rows`, in host memory.
///
/// Arguments and errors as policy_loss_rows. Rows that are not finite are counted in `non_finite_rows`; a
/// mean loss that is not finite stays so, and shows it.
template <backend B, storage_scalar T, policy_objective Objective, writable_batch Gradient = batch_view<T>>
TEMPFLOW_HIDDEN policy_statistics policy_loss(const B& backend, const policy_batch<T>& batch,
                                              input_batch<T> v, input_batch<T> v_ref,
                                              const Objective& objective, Gradient&& gradient,
                                              std::span<policy_row> rows) {
  const detail::operation_arguments arguments(backend);
  arguments.check_host_waits("policy_loss", rows.data());
  detail::policy_loss_rows(arguments, batch, v, v_ref, objective, as_view(gradient), rows);
  arguments.wait();
  return summarize(rows, objective.kl_beta, detail::policy_mean_over(batch, v.rows()));
}

/// As above, with the rows' own numbers in memory of its own.
template <backend B, storage_scalar T, policy_objective Objective, writable_batch Gradient = batch_view<T>>
TEMPFLOW_HIDDEN policy_statistics policy_loss(const B& backend, const policy_batch<T>& batch,
                                              input_batch<T> v, input_batch<T> v_ref,
                                              const Objective& objective, Gradient&& gradient) {
  std::vector<policy_row> rows(static_cast<std::size_t>(v.rows()));
  return policy_loss(backend, batch, v, v_ref, objective, as_view(gradient), std::span<policy_row>(rows));
}

}  // namespace tempflow
