// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// step and ode_step on host backends.

#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

template <class Arithmetic, storage_scalar T, storage_scalar V>
struct step_row {
  using arithmetic = Arithmetic;

  const step_op<T, V>& op;
  noise_key key;

  index_t elements() const { return op.x.columns(); }
  index_t sums_before(index_t i) const { return op.log_probs.empty() ? 0 : i; }
  double nanoseconds() const { return 1.2; }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* squared,
                                 Instructions) const {
    const noise_draw draw(op.noise.ids[i], op.noise.antithetic);
    const row_coefficients<typename arithmetic::template real<T>> coefficients(op.steps[i], draw);
    const T* const x = op.x.row(i);
    const V* const v = op.v.row(i);
    T* const y = op.y.row(i);
    sample<arithmetic, Instructions::value>(x, v, y, coefficients, key, draw.id, op.noise.first_element,
                                            first, last);
    if (!op.log_probs.empty()) {
      *squared += squared_residual<arithmetic, Instructions::value>(x, v, y, coefficients, first, last);
    }
  }

  void conclude(index_t i, const double* squared) const {
    if (op.log_probs.empty()) return;
    op.log_probs[static_cast<std::size_t>(i)] =
        gaussian_log_prob(*squared, op.steps[i], elements(), op.convention);
  }
};

template <class Arithmetic, storage_scalar T, storage_scalar V>
struct ode_step_row {
  using arithmetic = Arithmetic;

  const ode_step_op<T, V>& op;

  index_t elements() const { return op.x.columns(); }
  index_t sums_before(index_t) const { return 0; }
  double nanoseconds() const { return 0.3; }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double*, Instructions) const {
    const row_coefficients<typename arithmetic::template real<T>> coefficients(op.steps[i]);
    advance<arithmetic, Instructions::value>(op.x.row(i), op.v.row(i), op.y.row(i), coefficients, first,
                                             last);
  }

  void conclude(index_t, const double*) const {}
};

template <host_backend B, storage_scalar T, storage_scalar V>
void run(const operation_arguments<B>& arguments, const step_op<T, V>& op) {
  run_rows(arguments.backend(), op.x.rows(), step_row<typename B::arithmetic, T, V>{op, *op.noise.key});
}

template <host_backend B, storage_scalar T, storage_scalar V>
void run(const operation_arguments<B>& arguments, const ode_step_op<T, V>& op) {
  run_rows(arguments.backend(), op.x.rows(), ode_step_row<typename B::arithmetic, T, V>{op});
}

}  // namespace tempflow::detail
