// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// One step of a chain for a batch: y = alpha x + beta v + std z, with the noise drawn in the operation and
// the log-prob of the stored y taken in the same pass.

#include <span>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/detail/rows.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/ops/checks.hpp"
#include "tempflow/ops/row.hpp"

namespace tempflow {
namespace detail {

template <class Arithmetic, storage_scalar T>
struct step_row {
  using arithmetic = Arithmetic;

  batch_view<const T> x, v;
  batch_view<T> y;
  per_row<transition> steps;
  noise_key key;
  per_row<noise_id> ids;
  std::span<double> log_probs;
  log_prob_convention convention;

  index_t elements() const { return x.columns(); }
  index_t sums() const { return log_probs.empty() ? 0 : 1; }
  double nanoseconds() const { return 1.2; }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* squared,
                                 Instructions) const {
    const row_coefficients<typename arithmetic::template real<T>> coefficients(steps[i]);
    const T *const xi = x.row(i), *const vi = v.row(i);
    T* const yi = y.row(i);
    sample<arithmetic, Instructions::value>(xi, vi, yi, coefficients, key, ids[i], first, last);
    if (!log_probs.empty())
      *squared += squared_residual<arithmetic, Instructions::value>(xi, vi, yi, coefficients, first, last);
  }

  void conclude(index_t i, const double* squared) const {
    if (log_probs.empty()) return;
    log_probs[static_cast<std::size_t>(i)] = gaussian_log_prob(*squared, steps[i], elements(), convention);
  }
};

template <class Arithmetic, storage_scalar T>
struct ode_step_row {
  using arithmetic = Arithmetic;

  batch_view<const T> x, v;
  batch_view<T> y;
  per_row<transition> steps;

  index_t elements() const { return x.columns(); }
  index_t sums() const { return 0; }
  double nanoseconds() const { return 0.3; }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double*, Instructions) const {
    const row_coefficients<typename arithmetic::template real<T>> coefficients(steps[i]);
    advance<arithmetic, Instructions::value>(x.row(i), v.row(i), y.row(i), coefficients, first, last);
  }

  void conclude(index_t, const double*) const {}
};

}  // namespace detail

/// Draws y ~ N(alpha x + beta v, std^2) row by row and returns the log-prob of what was stored.
///
/// x, v, y: B x D. steps: one for all rows, or B. ids: B, one a row. log_probs: B doubles, or empty when not
/// wanted; then a row may also be deterministic. Noise is Philox under `key`, identified by a row's id: the
/// same id draws the same noise in every call.
///
/// Throws shape_error for extents that differ or y that shares memory with x or v, schedule_error for a
/// transition that is not finite or has no density although its log-prob is wanted. Source: Flow-GRPO,
/// sd3_sde_with_logprob.py (sde_step_with_logprob), for every dynamics.
template <backend B, class E, class T = std::remove_const_t<E>>
void step(const B& place, batch_view<E> x, input_batch<T> v, per_row<transition> steps, noise_key key,
          per_row<noise_id> ids, output_batch<T> y, std::span<double> log_probs,
          log_prob_convention convention = {}) {
  detail::check_shape("step", "v", v, x.rows(), x.columns());
  detail::check_shape("step", "y", y, x.rows(), x.columns());
  detail::check_not_in_place<T>("step", x, v, y);
  detail::check_noise_ids("step", ids, x.rows(), x.columns());
  if (!log_probs.empty()) {
    detail::check_size("step", "log_probs", log_probs.size(), x.rows());
    detail::check_has_elements("step", x.rows(), x.columns());
  }
  detail::check_transitions(place, "step", steps, x.rows(), !log_probs.empty());
  run_rows(place, x.rows(),
           detail::step_row<typename B::arithmetic, T>{x, v, y, steps, key, ids, log_probs, convention});
}

/// Writes the mean alpha x + beta v of each row: a deterministic step. y may be x.
///
/// x, v, y: B x D. steps: one for all rows, or B.
/// Throws shape_error for extents that differ, schedule_error for a transition that is not finite.
template <backend B, class E, class T = std::remove_const_t<E>>
void ode_step(const B& place, batch_view<E> x, input_batch<T> v, per_row<transition> steps,
              output_batch<T> y) {
  detail::check_shape("ode_step", "v", v, x.rows(), x.columns());
  detail::check_shape("ode_step", "y", y, x.rows(), x.columns());
  detail::check_same_or_apart("ode_step", "y", y, "x", x);
  detail::check_same_or_apart("ode_step", "y", y, "v", v);
  detail::check_transitions(place, "ode_step", steps, x.rows(), false);
  run_rows(place, x.rows(), detail::ode_step_row<typename B::arithmetic, T>{x, v, y, steps});
}

}  // namespace tempflow
