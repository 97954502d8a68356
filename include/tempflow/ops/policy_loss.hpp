// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loss of a batch of transitions and its gradient with respect to the velocity, in one operation:
//
//   L = 1/N sum_i [ objective(log p_i - log p_old_i, A_i, w_i) + kl_beta KL_i ]
//   dL/dv = c1 r + c2 (v - v_ref),   r = y - alpha x - beta v,   two scalars c1, c2 per row
//
// and for a state that n transitions leave, which share x, v and v_ref, their sum:
//
//   dL/dv = c1_1 r_1 + ... + c1_n r_n + n c2 (v - v_ref)
//
// The host backpropagates dL/dv through its own model; no other graph exists. Derivation: docs/maths.md.
//
// Traffic (fp32): reads x, y, v, with a KL v_ref; writes dL/dv: 16 B per element, 20 with a KL, where a row
// is read once (on policy on CPUs; from compute capability 9.0 on GPUs), else 28 and 36. A state with K siblings: 12
// + 4 K B, 16 + 4 K with a KL, where it is read once (on policy on CPUs), else 20 + 8 K and 28 + 8 K; in K rows it is
// K times the first numbers. Bound by memory. Drawn again instead of stored: 4 B, 12 with a KL, whatever K, and bound by
// the arithmetic of the noise.

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

/// Whether noise stands in for y.
template <storage_scalar T>
bool is_drawn_again(const policy_batch<T>& batch) {
  return batch.drawn.has_value() && !is_given(batch.y);
}

/// Transitions of a batch of `states` states.
template <storage_scalar T>
index_t policy_rows(const policy_batch<T>& batch, index_t states) {
  if (batch.offsets.empty()) return states;
  return is_drawn_again(batch) ? batch.drawn->ids.size() : batch.y.rows();
}

/// What the losses of a batch are divided by.
template <storage_scalar T>
double policy_mean_over(const policy_batch<T>& batch, index_t states) {
  const index_t rows = (std::max)(policy_rows(batch, states), index_t{1});
  return static_cast<double>(batch.mean_over > 0 ? batch.mean_over : rows);
}

/// policy_loss_rows with its arguments looked at by the caller, under the name of its operation.
template <class B, storage_scalar T, storage_scalar V, class Objective, storage_scalar G>
TEMPFLOW_HIDDEN void policy_loss_rows(const char* operation, const operation_arguments<B>& arguments,
                                      const policy_batch<T>& batch, batch_view<const V> v,
                                      batch_view<const V> v_ref, const Objective& objective, batch_view<G> to,
                                      std::span<policy_row> rows) {
  const index_t states = v.rows(), count = policy_rows(batch, states), elements = v.columns();
  objective.validate();
  if (batch.drawn && !is_drawn_again(batch)) {
    throw shape_error(message(operation, ": both y and drawn are given, and either says what was drawn"));
  }
  if (!batch.drawn || is_given(batch.x)) check_shape(operation, "x", batch.x, states, elements);
  if (batch.drawn) {
    check_noise(operation, *batch.drawn, count, elements);
  } else {
    check_shape(operation, "y", batch.y, count, elements);
  }
  if (is_given(v_ref)) check_shape(operation, "v_ref", v_ref, states, elements);
  if (is_given(to)) check_shape(operation, "gradient", to, states, elements);
  check_has_elements(operation, states, elements);
  const siblings of = check_siblings(arguments, operation, batch.offsets, states, count);
  check_same_or_apart(operation, "gradient", to, "x", batch.x);
  if (of.one_each()) {
    check_same_or_apart(operation, "gradient", to, "y", batch.y);
  } else if (overlap(to, batch.y)) {
    throw shape_error(message(operation, ": gradient shares memory with y, which siblings need apart"));
  }
  check_same_or_apart(operation, "gradient", to, "v", v);
  check_same_or_apart(operation, "gradient", to, "v_ref", v_ref);
  check_size(operation, "rows", rows.size(), count);
  check_size(operation, "old_log_probs", batch.old_log_probs.size(), count);
  check_size(operation, "advantages", batch.advantages.size(), count);
  check_transitions(arguments, operation, batch.transitions, states, true);
  check_finite(arguments, operation, "old_log_probs", batch.old_log_probs, count);
  check_finite(arguments, operation, "advantages", batch.advantages, count);
  check_weights(arguments, operation, batch.weights, count);
  if (objective.kl_beta != 0 && states > 0 && !is_given(v_ref)) {
    throw shape_error(message(operation, ": kl_beta = ", double{objective.kl_beta},
                              " needs v_ref, the reference policy's velocity (", states, " x ", elements,
                              ")"));
  }
  if (objective.kl_beta != 0 && batch.without_zeros) {
    throw value_error(message(operation, ": kl_beta = ", double{objective.kl_beta},
                              ", and rows that only the KL would notice were left out of the batch"));
  }
  if (is_given(v_ref) && objective.kl_over == kl_denominator::diffusion) {
    check_diffusions(arguments, operation, batch.transitions, states);
  }
  if (batch.mean_over < 0 || !is_finite(batch.gradient_scale)) {
    throw value_error(
        message(operation, ": mean_over = ", batch.mean_over, ", gradient_scale = ", batch.gradient_scale));
  }
  const policy_terms<Objective> terms{
      .transitions = batch.transitions,
      .old_log_probs = batch.old_log_probs,
      .advantages = batch.advantages,
      .weights = batch.weights,
      .convention = batch.convention,
      .objective = objective,
      .elements = elements,
      .gradient_factor = batch.gradient_scale / policy_mean_over(batch, states),
      .has_reference = !v_ref.empty(),
      .vanishing = is_given(to) ? smallest_stored<G>() / 2 : 0};
  execute(arguments,
          policy_loss_op<T, V, G, Objective>{batch.x, batch.y, v, v_ref, batch.drawn, of, terms, to, rows});
}

}  // namespace detail

/// dL/dv of a batch and every row's own numbers: policy_loss without the summary.
///
/// v: S x D in any storage type, the policy's velocity at batch.x. v_ref: S x D in the same, the reference policy's; {}
/// when the objective has kl_beta = 0 (given all the same, the KL is reported). gradient: S x D in any storage type,
/// for fp16 velocities better fp32 (`gradient_t`): a mean over N rows of D elements each is small; or {} for the loss
/// alone; it may be one of the inputs, which it then replaces: x, v or v_ref, and y where one row leaves each
/// state. rows: R. The bits of a state and its rows depend on nothing but these and N.
///
/// A row whose log-prob, loss, KL or slope is not finite is left out of the gradient and gets finite = 0, so that
/// one broken sample cannot poison the weights; so do all rows of a state whose gradient overflows fp16. The gradient
/// of a state that is left with no row is zero.
///
/// Throws shape_error for extents that differ, offsets that do not cut R rows in S parts, or a gradient that overlaps
/// an input without being it; memory_error for offsets in device memory;
/// value_error for old log-probs, advantages, weights, mean_over, gradient_scale or parameters of the
/// objective that make no sense; schedule_error for a transition without noise, or without the diffusion that
/// the KL is asked to use. Source: TempFlow-GRPO, arXiv 2508.04324 (weights: eqs. 7 and 8); Flow-GRPO, arXiv
/// 2505.05470, scripts/train_sd3.py.
template <backend B, storage_scalar T, velocities_for<T> V, policy_objective Objective,
          writable_batch Gradient = batch_view<gradient_t<storage_of<V>>>>
TEMPFLOW_HIDDEN void policy_loss_rows(const B& backend, const policy_batch<T>& batch, V&& v,
                                      input_batch<storage_of<V>> v_ref, const Objective& objective,
                                      Gradient&& gradient, std::span<policy_row> rows) {
  detail::policy_loss_rows("policy_loss", detail::operation_arguments(backend), batch, detail::as_input(v),
                           v_ref, objective, as_view(gradient), rows);
}

/// Loss, statistics and dL/dv of a batch; writes every row's own numbers to `rows`, in host memory.
///
/// Arguments and errors as policy_loss_rows. Rows that are not finite are counted in `non_finite_rows`; a
/// mean loss that is not finite stays so, and shows it.
template <backend B, storage_scalar T, velocities_for<T> V, policy_objective Objective,
          writable_batch Gradient = batch_view<gradient_t<storage_of<V>>>>
TEMPFLOW_HIDDEN policy_statistics policy_loss(const B& backend, const policy_batch<T>& batch, V&& v,
                                              input_batch<storage_of<V>> v_ref, const Objective& objective,
                                              Gradient&& gradient, std::span<policy_row> rows) {
  const detail::operation_arguments arguments(backend);
  const auto velocity = detail::as_input(v);
  arguments.check_host_waits("policy_loss", rows.data());
  detail::policy_loss_rows("policy_loss", arguments, batch, velocity, v_ref, objective, as_view(gradient),
                           rows);
  arguments.wait();
  return summarize(rows, objective.kl_beta, detail::policy_mean_over(batch, velocity.rows()));
}

/// As above, with the rows' own numbers in memory of its own.
template <backend B, storage_scalar T, velocities_for<T> V, policy_objective Objective,
          writable_batch Gradient = batch_view<gradient_t<storage_of<V>>>>
TEMPFLOW_HIDDEN policy_statistics policy_loss(const B& backend, const policy_batch<T>& batch, V&& v,
                                              input_batch<storage_of<V>> v_ref, const Objective& objective,
                                              Gradient&& gradient) {
  const auto velocity = detail::as_input(v);
  std::vector<policy_row> rows(static_cast<std::size_t>(detail::policy_rows(batch, velocity.rows())));
  return policy_loss(backend, batch, velocity, v_ref, objective, as_view(gradient),
                     std::span<policy_row>(rows));
}

}  // namespace tempflow
