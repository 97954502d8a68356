// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// log_prob on host backends.

#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

/// A state and the rows that leave it.
template <class Arithmetic, storage_scalar T, storage_scalar V>
struct log_prob_row {
  using arithmetic = Arithmetic;

  const log_prob_op<T, V>& op;

  index_t elements() const { return op.x.columns(); }
  index_t sums_before(index_t i) const { return op.of.first(i); }
  double nanoseconds() const { return 0.3 * op.of.mean_count(); }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* squared,
                                 Instructions) const {
    const row_coefficients<typename arithmetic::template real<T>> coefficients(op.steps[i]);
    const T* const x = op.x.row(i);
    const V* const v = op.v.row(i);
    const index_t row = op.of.first(i), count = op.of.count(i);
    for (index_t k = 0; k < count; ++k) {
      squared[k] += squared_residual<arithmetic, Instructions::value>(x, v, op.y.row(row + k), coefficients,
                                                                      first, last);
    }
  }

  void conclude(index_t i, const double* squared) const {
    const index_t row = op.of.first(i), count = op.of.count(i);
    for (index_t k = 0; k < count; ++k) {
      op.log_probs[static_cast<std::size_t>(row + k)] =
          gaussian_log_prob(squared[k], op.steps[i], elements(), op.convention);
    }
  }
};

template <host_backend B, storage_scalar T, storage_scalar V>
void run(const operation_arguments<B>& arguments, const log_prob_op<T, V>& op) {
  run_rows(arguments.backend(), op.x.rows(), log_prob_row<typename B::arithmetic, T, V>{op});
}

}  // namespace tempflow::detail
