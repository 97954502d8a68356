// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What any loss of log-probs is trained by: its factors f_i = dL / d log p_i, however they were computed, turned
// into its gradient with respect to the velocities,
//
//   dL/dv = sum over the rows i that leave a state of f_i d log p_i / dv,   d log p_i / dv = c r_i
//
// log_prob gives the log-probs; policy_loss is both at once, for losses of one row each. Traffic: as policy_loss.

#include <span>
#include <vector>

#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/policy_loss.hpp"

namespace tempflow {
namespace detail {

/// A loss that is linear in the log-probs.
struct given_factors {
  double kl_beta = 0;
  kl_denominator kl_over = {};

  TEMPFLOW_HD surrogate operator()(double, double factor, double) const { return {.slope = factor}; }
  void validate() const {}
};

}  // namespace detail

/// Writes sum_i factors[i] d log p_i / dv for each state, and each row's own numbers, of which log_prob, finite and
/// underflowed mean what they mean in policy_loss.
///
/// v, gradient: S x D, each in any storage type. factors, rows: R, one for each row of the batch, of which x, y or
/// drawn, offsets, transitions, mask and convention are read. A row whose residual or factor is not finite in fp32,
/// or whose state's gradient overflows fp16, is left out. Throws as policy_loss_rows, with which it shares that it
/// does not wait for a device. Source of d log p / dv: docs/maths.md.
template <backend B, storage_scalar T, velocities_for<T> V, writable_batch Gradient>
TEMPFLOW_HIDDEN void log_prob_gradient(const B& backend, const policy_batch<T>& batch, V&& v,
                                       std::span<const double> factors, Gradient&& gradient,
                                       std::span<policy_row> rows) {
  constexpr auto operation = "log_prob_gradient";
  const auto velocity = detail::as_input(v);
  const detail::operation_arguments arguments(backend);
  const index_t count = detail::policy_rows(batch, velocity.rows());
  detail::check_size(operation, "factors", factors.size(), count);
  detail::check_finite<B>(arguments, operation, "factors", factors, count);
  policy_batch<T> linear = batch;
  linear.old_log_probs = factors;  // any numbers: the ratio to them is not used
  linear.advantages = factors, linear.weights = 1.0;
  linear.mean_over = 1, linear.gradient_scale = 1, linear.without_zeros = false;
  if (batch.mask.given()) {
    return detail::row_loss_rows(operation, arguments, linear, velocity, {}, {},
                                 as_row_objective(detail::given_factors{}), as_view(gradient), rows);
  }
  detail::policy_loss_rows(operation, arguments, linear, velocity, {}, detail::given_factors{},
                           as_view(gradient), rows);
}

/// As above, with the rows' numbers in memory of its own. Waits for a device. Returns how many rows were left out.
template <backend B, storage_scalar T, velocities_for<T> V, writable_batch Gradient>
[[nodiscard]] TEMPFLOW_HIDDEN index_t log_prob_gradient(const B& backend, const policy_batch<T>& batch, V&& v,
                                                        std::span<const double> factors,
                                                        Gradient&& gradient) {
  const auto velocity = detail::as_input(v);
  std::vector<policy_row> rows(static_cast<std::size_t>(detail::policy_rows(batch, velocity.rows())));
  const detail::operation_arguments arguments(backend);
  arguments.check_host_waits("log_prob_gradient", rows.data());
  log_prob_gradient(backend, batch, velocity, factors, as_view(gradient), std::span<policy_row>(rows));
  arguments.wait();
  return summarize(rows, 0, 1).non_finite_rows;
}

TEMPFLOW_NEEDS_BACKEND(log_prob_gradient);

}  // namespace tempflow
