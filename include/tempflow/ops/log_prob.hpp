// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The log-prob of given transitions: what a policy with velocity v assigns to the step from x to y.

#include <span>

#include "tempflow/backend/backend.hpp"
#include "tempflow/detail/rows.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/ops/checks.hpp"
#include "tempflow/ops/row.hpp"

namespace tempflow {
namespace detail {

template <class Arithmetic, storage_scalar T>
struct log_prob_row {
  using arithmetic = Arithmetic;

  batch_view<const T> x, v, y;
  per_row<transition> steps;
  std::span<double> log_probs;
  log_prob_convention convention;

  index_t elements() const { return x.columns(); }
  index_t sums() const { return 1; }
  double nanoseconds() const { return 0.3; }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* squared,
                                 Instructions) const {
    const row_coefficients<typename arithmetic::template real<T>> coefficients(steps[i]);
    *squared += squared_residual<arithmetic, Instructions::value>(x.row(i), v.row(i), y.row(i), coefficients,
                                                                  first, last);
  }

  void conclude(index_t i, const double* squared) const {
    log_probs[static_cast<std::size_t>(i)] = gaussian_log_prob(*squared, steps[i], elements(), convention);
  }
};

}  // namespace detail

/// log_probs[i] = log p(y_i | x_i, v_i) under the transition of row i.
///
/// x, v, y: B x D. steps: one for all rows, or B. log_probs: B doubles. Gives the bits that `step` and
/// `branch_step` gave for the same x, v and y.
///
/// Throws shape_error for extents that differ, schedule_error for a transition without noise.
/// Source: Flow-GRPO, arXiv 2505.05470; sd3_sde_with_logprob.py (sde_step_with_logprob, mean-reduced).
template <backend B, class E, class T = std::remove_const_t<E>>
void log_prob(const B& place, batch_view<E> x, input_batch<T> v, input_batch<T> y, per_row<transition> steps,
              std::span<double> log_probs, log_prob_convention convention = {}) {
  detail::check_shape("log_prob", "v", v, x.rows(), x.columns());
  detail::check_shape("log_prob", "y", y, x.rows(), x.columns());
  detail::check_has_elements("log_prob", x.rows(), x.columns());
  detail::check_size("log_prob", "log_probs", log_probs.size(), x.rows());
  detail::check_transitions(place, "log_prob", steps, x.rows(), true);
  run_rows(place, x.rows(),
           detail::log_prob_row<typename B::arithmetic, T>{x, v, y, steps, log_probs, convention});
}

}  // namespace tempflow
