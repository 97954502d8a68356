// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// TempFlow-GRPO's inner operation: from one state and one velocity, the ODE's next state and K stochastic
// explorations with their log-probs. x and v are read once, whatever K.
// Source: TempFlow-GRPO, arXiv 2508.04324, section 3.2; sd3_pipeline_with_logprob_perstep.py.

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
struct branch_step_row {
  using arithmetic = Arithmetic;

  batch_view<const T> x, v;
  per_row<transition> trunk_steps, branch_steps;
  noise_key key;
  per_row<noise_id> ids;
  batch_view<T> trunk, branches;
  std::span<double> log_probs;
  log_prob_convention convention;

  index_t elements() const { return x.columns(); }
  index_t sums() const { return branches.rows() / x.rows(); }
  double nanoseconds() const { return 0.3 + 1.2 * static_cast<double>(sums()); }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* squared,
                                 Instructions) const {
    using coefficients = row_coefficients<typename arithmetic::template real<T>>;
    const T *const xi = x.row(i), *const vi = v.row(i);
    const coefficients along(trunk_steps[i]), aside(branch_steps[i]);
    advance<arithmetic, Instructions::value>(xi, vi, trunk.row(i), along, first, last);
    const index_t explorations = sums();
    for (index_t k = 0; k < explorations; ++k) {
      noise_id id = ids[i];
      id.branch = static_cast<std::uint16_t>(id.branch + k);
      T* const yk = branches.row(i * explorations + k);
      sample<arithmetic, Instructions::value>(xi, vi, yk, aside, key, id, first, last);
      squared[k] += squared_residual<arithmetic, Instructions::value>(xi, vi, yk, aside, first, last);
    }
  }

  void conclude(index_t i, const double* squared) const {
    for (index_t k = 0; k < sums(); ++k) {
      log_probs[static_cast<std::size_t>(i * sums() + k)] =
          gaussian_log_prob(squared[k], branch_steps[i], elements(), convention);
    }
  }
};

}  // namespace detail

/// Writes trunk = alpha x + beta v of the trunk's step, and K explorations of the branch step with their
/// log-probs.
///
/// x, v, trunk: B x D. branches: B K x D, exploration k of row i in row i K + k; its noise is that of ids[i]
/// with branch increased by k. log_probs: B K doubles. trunk_steps (usually the ODE's), branch_steps: one
/// for all rows, or B. ids: B, one a row. Results equal one `ode_step` and K `step`s bit for bit.
///
/// Throws shape_error for extents that do not fit (branches must hold a positive multiple of B rows, K <=
/// 65,536) and for outputs that share memory with x, v or each other, schedule_error for a branch step
/// without noise.
template <backend B, class E, class T = std::remove_const_t<E>>
void branch_step(const B& place, batch_view<E> x, input_batch<T> v, per_row<transition> trunk_steps,
                 per_row<transition> branch_steps, noise_key key, per_row<noise_id> ids,
                 output_batch<T> trunk, output_batch<T> branches, std::span<double> log_probs,
                 log_prob_convention convention = {}) {
  const index_t rows = x.rows();
  detail::check_shape("branch_step", "v", v, rows, x.columns());
  detail::check_shape("branch_step", "trunk", trunk, rows, x.columns());
  const index_t explorations = rows > 0 ? branches.rows() / rows : 0;
  if (rows > 0 && (explorations < 1 || explorations > 65536 || branches.rows() % rows != 0)) {
    throw shape_error(detail::message("branch_step: branches has ", branches.rows(),
                                      " rows, expected a positive multiple of the ", rows, " rows of x"));
  }
  detail::check_shape("branch_step", "branches", branches, rows * explorations, x.columns());
  detail::check_size("branch_step", "log_probs", log_probs.size(), branches.rows());
  detail::check_not_in_place<T>("branch_step", x, v, trunk);
  detail::check_not_in_place<T>("branch_step", x, v, branches);
  if (detail::overlap(trunk, branches)) {
    throw shape_error("branch_step: trunk and branches must not share memory");
  }
  detail::check_noise_ids("branch_step", ids, rows, x.columns());
  detail::check_has_elements("branch_step", rows, x.columns());
  for (index_t i = 0; i < rows && detail::host_reads(place, ids); ++i) {
    if (ids[i].branch + explorations > 65536) {
      throw shape_error(detail::message("branch_step: ids[", i, "].branch = ", ids[i].branch,
                                        " leaves no room for ", explorations, " explorations below 65536"));
    }
  }
  detail::check_transitions(place, "branch_step", trunk_steps, rows, false);
  detail::check_transitions(place, "branch_step", branch_steps, rows, true);
  run_rows(place, rows,
           detail::branch_step_row<typename B::arithmetic, T>{x, v, trunk_steps, branch_steps, key, ids,
                                                              trunk, branches, log_probs, convention});
}

}  // namespace tempflow
