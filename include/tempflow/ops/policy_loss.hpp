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
// Traffic (fp32): reads x, y, v, with a KL v_ref; writes dL/dv: 16 B per element, 20 with a KL, where a row is read
// once (on policy on CPUs; from compute capability 9.0 on GPUs), else 28 and 36. A state with K siblings: 12 + 4 K
// B, 16 + 4 K with a KL, where it is read once (on policy on CPUs), else 20 + 8 K and 28 + 8 K; in K rows it is K
// times the first numbers. Bound by memory. Drawn again instead of stored: 4 B, 12 with a KL, whatever K, and bound
// by the arithmetic of the noise.

#include <concepts>
#include <span>
#include <vector>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/batch_like.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/detail/policy_checks.hpp"
#include "tempflow/ops/host/policy_loss.hpp"
#include "tempflow/ops/policy_batch.hpp"
#include "tempflow/ops/policy_scores.hpp"
#include "tempflow/ops/policy_sums.hpp"

namespace tempflow {
namespace detail {

/// The loss of an objective of a row's means, under the name of its operation.
template <class B, storage_scalar T, storage_scalar V, row_objective Objective, storage_scalar G>
TEMPFLOW_HIDDEN void row_loss_rows(const char* operation, const operation_arguments<B>& arguments,
                                   const policy_batch<T>& batch, batch_view<const V> v,
                                   batch_view<const V> v_ref, batch_view<const V> v_old,
                                   const Objective& objective, batch_view<G> to, std::span<policy_row> rows) {
  auto in = make_row_inputs(operation, arguments, batch, v, v_ref, v_old);
  if (!objective.needs.old_velocity) in.v_old = v, in.has_old = false;
  check_policy_gradient(operation, in.of, batch, v, v_ref, to);
  check_same_or_apart(operation, "gradient", to, "v_old", v_old);
  check_size(operation, "rows", rows.size(), in.of.rows());
  row_constants constants = make_row_constants(operation, arguments, batch, v.rows(), in.of.rows(),
                                               v.columns(), is_given(v_ref), objective);
  constants.vanishing = is_given(to) ? smallest_stored<G>() / 2 : 0;
  constants.overflowing = max_squared<T, G>();
  if (objective.needs.old_velocity && v.rows() > 0 && !is_given(v_old)) {
    throw shape_error(message(operation,
                              ": the objective needs v_old, the velocity of the rollout's policy (", v.rows(),
                              " x ", v.columns(), ")"));
  }
  execute(arguments, row_loss_op<T, V, G, Objective>{in, in.of, constants, objective, mixture_of(objective),
                                                     or_zeros(batch.old_log_probs),
                                                     or_zeros(batch.advantages), batch.weights, to, rows});
}

/// policy_loss_rows with its arguments looked at by the caller, under the name of its operation.
template <class B, storage_scalar T, storage_scalar V, class Objective, storage_scalar G>
TEMPFLOW_HIDDEN void policy_loss_rows(const char* operation, const operation_arguments<B>& arguments,
                                      const policy_batch<T>& batch, batch_view<const V> v,
                                      batch_view<const V> v_ref, const Objective& objective, batch_view<G> to,
                                      std::span<policy_row> rows) {
  if (batch.mask.given()) {
    throw value_error(
        message(operation, ": a mask goes with objectives in their general form, ",
                "policy_loss(backend, batch, v, v_ref, {}, as_row_objective(objective), gradient)"));
  }
  const index_t states = v.rows(), elements = v.columns();
  objective.validate();
  const siblings of = check_policy_states(operation, arguments, batch, v);
  check_other_velocity(operation, "v_ref", v_ref, v);
  check_policy_gradient(operation, of, batch, v, v_ref, to);
  check_size(operation, "rows", rows.size(), of.rows());
  const bool has_density = batch.convention.terms != log_prob_terms::squared_error || batch.drawn ||
                           (is_given(v_ref) && objective.kl_over == kl_denominator::transition_variance);
  check_transitions(arguments, operation, batch.transitions, states, has_density);
  check_policy_numbers(operation, arguments, batch, of.rows(), true);
  check_policy_kl(operation, arguments, batch, states, elements, is_given(v_ref), objective);
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
      .vanishing = is_given(to) ? smallest_stored<G>() / 2 : 0,
      .overflowing = max_squared<T, G>()};
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
/// one broken sample cannot poison the weights; so is one whose part in the gradient has a norm above 2^110 (1e33;
/// 2^500 in fp64; of rows that are drawn again, that of the KL is not looked at), and so are all rows of a state whose
/// gradient overflows fp16. The gradient of a state that is left with no row is zero.
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

/// For objectives of a row's means (row_objective.hpp), which may compare v with v_old too, the velocity of the
/// policy that drew the rollout: S x D in v's type, or {} where the objective has no need of it. Other arguments
/// and errors as above; old_log_probs may be empty where the objective has no ratio.
template <backend B, storage_scalar T, velocities_for<T> V, row_objective Objective,
          writable_batch Gradient = batch_view<gradient_t<storage_of<V>>>>
TEMPFLOW_HIDDEN void policy_loss_rows(const B& backend, const policy_batch<T>& batch, V&& v,
                                      input_batch<storage_of<V>> v_ref, input_batch<storage_of<V>> v_old,
                                      const Objective& objective, Gradient&& gradient,
                                      std::span<policy_row> rows) {
  detail::row_loss_rows("policy_loss", detail::operation_arguments(backend), batch, detail::as_input(v),
                        v_ref, v_old, objective, as_view(gradient), rows);
}
template <backend B, storage_scalar T, velocities_for<T> V, row_objective Objective,
          writable_batch Gradient = batch_view<gradient_t<storage_of<V>>>>
TEMPFLOW_HIDDEN policy_statistics policy_loss(const B& backend, const policy_batch<T>& batch, V&& v,
                                              input_batch<storage_of<V>> v_ref,
                                              input_batch<storage_of<V>> v_old, const Objective& objective,
                                              Gradient&& gradient, std::span<policy_row> rows) {
  const detail::operation_arguments arguments(backend);
  const auto velocity = detail::as_input(v);
  arguments.check_host_waits("policy_loss", rows.data());
  detail::row_loss_rows("policy_loss", arguments, batch, velocity, v_ref, v_old, objective, as_view(gradient),
                        rows);
  arguments.wait();
  return summarize(rows, objective.kl_beta, detail::policy_mean_over(batch, velocity.rows()));
}
template <backend B, storage_scalar T, velocities_for<T> V, row_objective Objective,
          writable_batch Gradient = batch_view<gradient_t<storage_of<V>>>>
TEMPFLOW_HIDDEN policy_statistics policy_loss(const B& backend, const policy_batch<T>& batch, V&& v,
                                              input_batch<storage_of<V>> v_ref,
                                              input_batch<storage_of<V>> v_old, const Objective& objective,
                                              Gradient&& gradient) {
  const auto velocity = detail::as_input(v);
  std::vector<policy_row> rows(static_cast<std::size_t>(detail::policy_rows(batch, velocity.rows())));
  return policy_loss(backend, batch, velocity, v_ref, v_old, objective, as_view(gradient),
                     std::span<policy_row>(rows));
}

/// What is no objective does not compile, and is told what one is.
template <backend B, storage_scalar T, velocities_for<T> V, class Objective, class Gradient, class... Rest>
  requires(!any_objective<Objective> && !std::convertible_to<const Objective&, input_batch<storage_of<V>>>)
auto policy_loss(const B&, const policy_batch<T>&, V&&, input_batch<storage_of<V>>, const Objective&,
                 Gradient&&, Rest&&...) {
  static_assert(any_objective<Objective>,
                "policy_loss needs an objective: a functor surrogate(double log_ratio, double advantage, "
                "double weight) with "
                "kl_beta, kl_over and validate() (objective/surrogate.hpp), or one of a row's means "
                "(objective/row_objective.hpp); objectives of whole batches go through policy_scores "
                "(ops/policy_sums.hpp)");
}

TEMPFLOW_NEEDS_BACKEND(policy_loss);
TEMPFLOW_NEEDS_BACKEND(policy_loss_rows);

}  // namespace tempflow
