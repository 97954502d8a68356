// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The checks that losses share, of the arguments by which a batch is turned into a loss and its gradient.

#include <algorithm>
#include <string_view>

#include "tempflow/objective/kl.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/siblings.hpp"
#include "tempflow/ops/policy_batch.hpp"

namespace tempflow::detail {

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

/// What the losses of a batch of `rows` rows are divided by.
template <storage_scalar T>
double mean_over_rows(const policy_batch<T>& batch, index_t rows) {
  return static_cast<double>(batch.mean_over > 0 ? batch.mean_over : (std::max)(rows, index_t{1}));
}
template <storage_scalar T>
double policy_mean_over(const policy_batch<T>& batch, index_t states) {
  return mean_over_rows(batch, policy_rows(batch, states));
}

/// The batches of a loss, but for those of other velocities and the gradient.
template <class B, storage_scalar T, storage_scalar V>
siblings check_policy_states(std::string_view operation, const operation_arguments<B>& arguments,
                             const policy_batch<T>& batch, const batch_view<const V>& v) {
  const index_t states = v.rows(), count = policy_rows(batch, states), elements = v.columns();
  if (batch.drawn && !is_drawn_again(batch)) {
    throw shape_error(message(operation, ": both y and drawn are given, and either says what was drawn"));
  }
  if (!batch.drawn || is_given(batch.x)) check_shape(operation, "x", batch.x, states, elements);
  if (batch.drawn) {
    check_noise(operation, *batch.drawn, count, elements);
  } else {
    check_shape(operation, "y", batch.y, count, elements);
  }
  check_has_elements(operation, states, elements);
  return check_siblings(arguments, operation, batch.offsets, states, count);
}

/// The velocity of another policy: not given, or of v's shape.
template <storage_scalar V>
void check_other_velocity(std::string_view operation, std::string_view name, const batch_view<const V>& other,
                          const batch_view<const V>& v) {
  if (is_given(other)) check_shape(operation, name, other, v.rows(), v.columns());
}

/// A gradient: not given, or of v's shape, each of the inputs or apart from it.
template <storage_scalar T, storage_scalar V, storage_scalar G>
void check_policy_gradient(std::string_view operation, const siblings& of, const policy_batch<T>& batch,
                           const batch_view<const V>& v, const batch_view<const V>& v_ref,
                           const batch_view<G>& to) {
  if (is_given(to)) check_shape(operation, "gradient", to, v.rows(), v.columns());
  check_same_or_apart(operation, "gradient", to, "x", batch.x);
  if (of.one_each()) {
    check_same_or_apart(operation, "gradient", to, "y", batch.y);
  } else if (overlap(to, batch.y)) {
    throw shape_error(message(operation, ": gradient shares memory with y, which siblings need apart"));
  }
  check_same_or_apart(operation, "gradient", to, "v", v);
  check_same_or_apart(operation, "gradient", to, "v_ref", v_ref);
}

/// The numbers of each row that an objective is given.
template <class B, storage_scalar T>
void check_policy_numbers(std::string_view operation, const operation_arguments<B>& arguments,
                          const policy_batch<T>& batch, index_t rows, bool needs_ratio,
                          bool needs_advantage = true) {
  if (needs_ratio || !batch.old_log_probs.empty()) {
    check_size(operation, "old_log_probs", batch.old_log_probs.size(), rows);
    check_finite(arguments, operation, "old_log_probs", batch.old_log_probs, rows);
  }
  if (needs_advantage || !batch.advantages.empty()) {
    check_size(operation, "advantages", batch.advantages.size(), rows);
    check_finite(arguments, operation, "advantages", batch.advantages, rows);
  }
  check_weights(arguments, operation, batch.weights, rows);
  if (batch.mean_over < 0 || !is_finite(batch.gradient_scale)) {
    throw value_error(
        message(operation, ": mean_over = ", batch.mean_over, ", gradient_scale = ", batch.gradient_scale));
  }
}

/// The KL of an objective to a reference policy.
template <class B, storage_scalar T, class Objective>
void check_policy_kl(std::string_view operation, const operation_arguments<B>& arguments,
                     const policy_batch<T>& batch, index_t states, index_t elements, bool has_reference,
                     const Objective& objective) {
  if (objective.kl_beta != 0 && states > 0 && !has_reference) {
    throw shape_error(message(operation, ": kl_beta = ", double{objective.kl_beta},
                              " needs v_ref, the reference policy's velocity (", states, " x ", elements,
                              ")"));
  }
  if (objective.kl_beta != 0 && batch.without_zeros) {
    throw value_error(message(operation, ": kl_beta = ", double{objective.kl_beta},
                              ", and rows that only the KL would notice were left out of the batch"));
  }
  if (has_reference && objective.kl_over == kl_denominator::diffusion) {
    check_diffusions(arguments, operation, batch.transitions, states);
  }
}

}  // namespace tempflow::detail
