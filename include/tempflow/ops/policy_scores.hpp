// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What stands between the two calls of a loss (policy_sums.hpp): an objective's answer for each row, on the host.

#include <cmath>
#include <concepts>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tempflow/backend/reference.hpp"
#include "tempflow/core/batch_like.hpp"
#include "tempflow/objective/row_objective.hpp"
#include "tempflow/ops/detail/policy_checks.hpp"
#include "tempflow/ops/detail/row_operations.hpp"
#include "tempflow/ops/detail/row_terms.hpp"
#include "tempflow/ops/policy_batch.hpp"

namespace tempflow {
namespace detail {

/// What an objective asks of a batch, looked at, and what is the same for its rows.
template <class B, storage_scalar T, class Objective>
row_constants make_row_constants(std::string_view operation, const operation_arguments<B>& arguments,
                                 const policy_batch<T>& batch, index_t states, index_t rows, index_t elements,
                                 bool has_reference, const Objective& objective) {
  const row_needs needs = objective.needs;
  objective.validate();
  constexpr log_prob_convention squared_error{log_prob_reduction::mean, log_prob_terms::squared_error};
  if (needs.squared_error && !(batch.convention == squared_error)) {
    throw value_error(message(operation, ": the objective takes log-probs that are -mean(r^2), convention = ",
                              "{log_prob_reduction::mean, log_prob_terms::squared_error}"));
  }
  if (needs.reference_velocity && states > 0 && !has_reference) {
    throw shape_error(message(operation, ": the objective needs v_ref, the reference policy's velocity (",
                              states, " x ", elements, ")"));
  }
  if (needs.zeros && batch.without_zeros) {
    throw value_error(message(operation, ": rows of advantage or weight 0 were left out of the batch, ",
                              "and this objective needs them"));
  }
  const bool of_errors = batch.convention.terms == log_prob_terms::squared_error;
  const bool has_density = needs.ratio && !needs.squared_error && (!of_errors || needs.old_velocity);
  const bool over_variance = has_reference && objective.kl_over == kl_denominator::transition_variance;
  check_transitions(arguments, operation, batch.transitions, states, has_density || over_variance);
  if (needs.finished) check_clean_transitions(arguments, operation, batch.transitions, states);
  check_policy_numbers(operation, arguments, batch, rows, needs.ratio, needs.advantage);
  check_policy_kl(operation, arguments, batch, states, elements, has_reference, objective);
  return {.convention = batch.convention,
          .needs = needs,
          .kl_beta = double{objective.kl_beta},
          .kl_over = objective.kl_over,
          .has_reference = has_reference,
          .has_old = needs.old_velocity,
          .gradient_factor = batch.gradient_scale / mean_over_rows(batch, rows),
          .wide = std::same_as<compute_t<T>, double>};
}

/// What scores rows.
template <any_objective Objective>
decltype(auto) general_form(const Objective& objective) {
  return as_row_objective(objective);
}
template <batch_objective Objective>
const Objective& general_form(const Objective& objective) {
  return objective;
}

/// Numbers of each row, or zeros where there are none.
inline per_row<double> or_zeros(std::span<const double> numbers) {
  return numbers.empty() ? per_row<double>(0.0) : per_row<double>(numbers);
}

/// What sums are of, by the first that is not missing; and that they are sums.
struct summed {
  bool reference = false, old = false, errors = false;
  index_t elements = 1;

  summed(std::string_view operation, std::span<const row_sums> sums) {
    if (sums.empty()) reference = old = errors = true;  // of no rows
    constexpr double most = 9007199254740992;           // 2^53
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const double count = sums[i].elements;
      if (!(count >= 1 && count <= most) || std::floor(count) != count)
        throw value_error(message(operation, ": sums[", i, "].elements = ", count));
      elements = static_cast<index_t>(count);
      reference = reference || is_summed(sums[i].reference);
      old = old || is_summed(sums[i].old);
      errors = errors || is_summed(sums[i].positive);
    }
  }
};

}  // namespace detail

/// rows[i] and factors[i] = what an objective, of any kind, makes of sums[i].
///
/// batch: the numbers of the rows, in host memory: transitions by state, offsets, old_log_probs (empty where the
/// objective has no ratio), advantages, weights, mean_over, gradient_scale. sums, rows, factors: R. The KL is
/// reported where the sums are of a v_ref. Rows that are not finite, or whose part in the gradient may overflow, get
/// finite = 0 and factors of 0; underflowed is of fp32 gradients. summarize() adds the rows up.
///
/// Gradient: what policy_gradient will store; by default as the states. Named for fp32 gradients of fp64 states:
/// policy_scores<float>(batch, ...).
///
/// Throws as policy_loss, shape_error for sums that were made without a velocity that the objective needs,
/// value_error for those made without its mixture, or whose number of elements is none.
template <class Gradient = void, storage_scalar T, class Objective>
  requires any_objective<Objective> || batch_objective<Objective>
void policy_scores(const policy_batch<T>& batch, const Objective& given, std::span<const row_sums> sums,
                   std::span<policy_row> rows, std::span<row_factors> factors) {
  constexpr auto operation = "policy_scores";
  const auto& objective = detail::general_form(given);
  const reference_backend backend;
  const detail::operation_arguments<reference_backend> host{backend};
  const auto count = static_cast<index_t>(sums.size());
  const index_t states = batch.offsets.empty() ? count : static_cast<index_t>(batch.offsets.size()) - 1;
  const detail::siblings of = detail::check_siblings(host, operation, batch.offsets, states, count);
  detail::check_size(operation, "rows", rows.size(), count);
  detail::check_size(operation, "factors", factors.size(), count);
  const detail::summed made(operation, sums);
  if (objective.needs.old_velocity && count > 0 && !made.old) {
    throw shape_error(
        detail::message(operation, ": the objective needs v_old, without which the sums were made"));
  }
  if (detail::mixture_of(objective) != 0 && count > 0 && !made.errors) {
    throw value_error(detail::message(operation, ": the objective has mixture = ",
                                      detail::mixture_of(objective), ", and the sums were made without it"));
  }
  detail::row_constants constants = detail::make_row_constants(operation, host, batch, states, count,
                                                               made.elements, made.reference, objective);
  using stored = std::conditional_t<std::is_void_v<Gradient>, T, Gradient>;
  constants.overflowing = detail::max_squared<T, stored>();
  const per_row<double> old_log_probs = detail::or_zeros(batch.old_log_probs),
                        advantages = detail::or_zeros(batch.advantages);
  std::vector<scored_row> seen;
  for (index_t state = 0; state < states; ++state) {
    for (index_t row = of.first(state); row < of.first(state + 1); ++row) {
      seen.push_back(detail::view_row(constants, batch.transitions[state], old_log_probs[row],
                                      advantages[row], batch.weights[row],
                                      sums[static_cast<std::size_t>(row)]));
    }
  }
  std::vector<row_loss> answers(seen.size());
  if constexpr (batch_objective<Objective>) {
    objective(std::span<const scored_row>(seen), std::span<row_loss>(answers));
  } else {
    for (std::size_t i = 0; i < seen.size(); ++i) answers[i] = objective(seen[i]);
  }
  for (std::size_t i = 0; i < seen.size(); ++i)
    rows[i] = detail::conclude_row(constants, seen[i], answers[i], sums[i], factors[i]);
}

}  // namespace tempflow
