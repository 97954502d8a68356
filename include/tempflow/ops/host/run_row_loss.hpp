// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a host backend runs the kernels of row_loss.hpp.

#include <span>
#include <vector>

#include "tempflow/ops/host/row_loss.hpp"

namespace tempflow::detail {

template <bool Masked, host_backend B, storage_scalar T, storage_scalar V>
void run_sums(const operation_arguments<B>& arguments, const row_sums_op<T, V>& op) {
  const row_sums_pass<typename B::arithmetic, Masked, T, V> kernel{op};
  run_rows(arguments.backend(), op.in.of.states(), kernel);
}

/// Sums, of a mask's elements where there is one.
template <host_backend B, storage_scalar T, storage_scalar V>
void run(const operation_arguments<B>& arguments, const row_sums_op<T, V>& op) {
  if (op.in.mask.given()) return run_sums<true>(arguments, op);
  run_sums<false>(arguments, op);
}

/// Gradients alone, or with a scorer both passes.
template <bool Masked, host_backend B, storage_scalar T, storage_scalar V, storage_scalar G>
void run_gradients(const operation_arguments<B>& arguments, const row_gradient_op<T, V, G>& op,
                   const row_scorer* scorer = nullptr, double mixture = 0,
                   std::span<row_factors> factors = {}) {
  using arithmetic = typename B::arithmetic;
  using real = typename arithmetic::template real<T>;
  const index_t states = op.of.states();
  std::vector<gradient_part<T, real>> rows(static_cast<std::size_t>(op.of.rows()));
  std::vector<state_part<real>> parts(static_cast<std::size_t>(states));
  const row_gradients<arithmetic, Masked, T, V, G> gradients{
      op, {op, worth_streaming(op.gradient)}, rows, parts};
  if (scorer != nullptr) {
    const row_loss_passes<arithmetic, Masked, T, V, G> both{gradients, mixture, *scorer, factors};
    return run_rows(arguments.backend(), states, both);
  }
  for (index_t i = 0; i < states; ++i) gradients.begin(i);
  run_rows(arguments.backend(), states, row_gradient_pass<arithmetic, Masked, T, V, G>{gradients});
}

template <host_backend B, storage_scalar T, storage_scalar V, storage_scalar G>
void run(const operation_arguments<B>& arguments, const row_gradient_op<T, V, G>& op) {
  if (op.in.mask.given()) return run_gradients<true>(arguments, op);
  run_gradients<false>(arguments, op);
}

/// Scores a row of an operation.
template <class Op>
policy_row score_row(const Op& op, const transition& step, index_t row, const row_sums& sums,
                     row_factors& factors) {
  const scored_row seen =
      view_row(op.constants, step, op.old_log_probs[row], op.advantages[row], op.weights[row], sums);
  return conclude_row(op.constants, seen, op.objective(seen), sums, factors);
}

template <host_backend B, storage_scalar T, storage_scalar V, storage_scalar G, class Objective>
void run(const operation_arguments<B>& arguments, const row_loss_op<T, V, G, Objective>& op) {
  using op_type = row_loss_op<T, V, G, Objective>;
  std::vector<row_factors> factors(static_cast<std::size_t>(op.of.rows()));
  const row_scorer scorer{
      &op, [](const void* of, index_t state, index_t row, const row_sums& sums, row_factors& to) {
        const auto& in = *static_cast<const op_type*>(of);
        return score_row(in, in.in.transitions[state], row, sums, to);
      }};
  const row_gradient_op<T, V, G> gradients{op.in, op.of, factors, op.gradient, op.rows};
  if (op.in.mask.given()) return run_gradients<true>(arguments, gradients, &scorer, op.mixture, factors);
  run_gradients<false>(arguments, gradients, &scorer, op.mixture, factors);
}

}  // namespace tempflow::detail
