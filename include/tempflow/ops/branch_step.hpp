// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// TempFlow-GRPO's inner operation: from one state and one velocity, the ODE's next state and K stochastic
// explorations with their log-probs. x and v are read once, whatever K. Without the ODE's state it gives K
// children of each state: a stochastic tree.
// Source: TempFlow-GRPO, arXiv 2508.04324, section 3.2; sd3_pipeline_with_logprob_perstep.py.
//
// Traffic (fp32): reads x, v; writes the trunk and K branches: 12 + 4 K B per element. Bound by the
// arithmetic of the noise, which antithetic draws halve on host backends; devices draw it for each branch, since
// two branches at once would not fit their registers.

#include <span>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/branch_step.hpp"
#include "tempflow/ops/host/log_prob.hpp"
#include "tempflow/ops/put_back.hpp"

namespace tempflow {

/// Writes trunk = alpha x + beta v of the trunk's step, and K explorations of the branch step with their
/// log-probs.
///
/// x, v, trunk: B x D. branches: B K x D, exploration k of row i in row i K + k; its noise is that of the
/// row's id with branch increased by k. log_probs: B K doubles. trunk_steps (usually the ODE's),
/// branch_steps: one for all rows, or B. noise: a key and B ids. Results equal one `ode_step` and K `step`s
/// bit for bit. With {} for the trunk none is written, and trunk_steps are not looked at.
///
/// With a mask (one row, or B) the elements that it leaves out stay as x has them, in trunk and branches, and log-probs
/// are of the others alone, as log_prob has them.
///
/// Throws shape_error for extents that do not fit (branches must hold a positive multiple of B rows, K <=
/// 65,536) and for outputs that share memory with x, v or each other, schedule_error for a branch step
/// without noise, value_error for a mask that counts no element of a row.
template <backend B, batch_like X, velocities_for<storage_of<X>> V, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void branch_step(const B& backend, X&& x, V&& v, per_row<transition> trunk_steps,
                                 per_row<transition> branch_steps, noise_source noise, output_batch<T> trunk,
                                 output_batch<T> branches, std::span<double> log_probs,
                                 log_prob_convention convention = {}, element_mask mask = {}) {
  const auto from = detail::as_input(x);
  const auto velocity = detail::as_input(v);
  const index_t rows = from.rows(), columns = from.columns();
  detail::check_shape("branch_step", "v", velocity, rows, columns);
  const bool has_trunk = detail::is_given(trunk);
  if (has_trunk) detail::check_shape("branch_step", "trunk", trunk, rows, columns);
  const index_t explorations = rows > 0 ? branches.rows() / rows : 0;
  if (rows > 0 && (explorations < 1 || explorations > 65536 || branches.rows() % rows != 0)) {
    throw shape_error(detail::message("branch_step: branches has ", branches.rows(),
                                      " rows, expected a positive multiple of the ", rows, " rows of x"));
  }
  detail::check_shape("branch_step", "branches", branches, rows * explorations, columns);
  detail::check_size("branch_step", "log_probs", log_probs.size(), branches.rows());
  detail::check_not_in_place("branch_step", from, velocity, trunk);
  detail::check_not_in_place("branch_step", from, velocity, branches);
  if (detail::overlap(trunk, branches)) {
    throw shape_error("branch_step: trunk and branches must not share memory");
  }
  detail::check_noise("branch_step", noise, rows, columns);
  detail::check_has_elements("branch_step", rows, columns);
  const detail::operation_arguments arguments(backend);
  detail::check_branches(arguments, "branch_step", noise.ids, rows, explorations);
  if (has_trunk) {
    detail::check_transitions(arguments, "branch_step", trunk_steps, rows, false);
  } else {
    trunk_steps = transition{};
  }
  detail::check_transitions(arguments, "branch_step", branch_steps, rows, true);
  detail::check_mask(arguments, "branch_step", mask, rows, columns);
  if (mask.given()) arguments.check_result("branch_step", "log_probs", log_probs.data());
  if (rows == 0) return;
  detail::execute(arguments,
                  detail::branch_step_op<T, storage_of<V>>{from, velocity, trunk_steps, branch_steps, noise,
                                                           trunk, branches, log_probs, convention});
  if (!mask.given()) return;
  detail::put_back(arguments, from, mask, trunk);
  detail::put_back(arguments, from, mask, branches);
  const auto offsets = detail::equal_offsets(rows, explorations);
  detail::execute(arguments, detail::log_prob_op<T, storage_of<V>>{
                                 from, branches, velocity, detail::siblings(offsets, rows), branch_steps,
                                 log_probs, convention, mask});
}

TEMPFLOW_NEEDS_BACKEND(branch_step);

}  // namespace tempflow
