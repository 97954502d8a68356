// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// log_prob on host backends.

#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

/// A state and the rows that leave it. With a mask, the number of elements that count follows the sums of the rows.
template <bool Masked, class Arithmetic, storage_scalar T, storage_scalar V>
struct log_prob_row {
  using arithmetic = Arithmetic;

  const log_prob_op<T, V>& op;

  index_t elements() const { return op.x.columns(); }
  index_t sums_before(index_t i) const { return op.of.first(i) + (Masked ? i : 0); }
  double nanoseconds() const { return 0.3 * op.of.mean_count(); }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* squared,
                                 Instructions) const {
    if constexpr (Masked) {
      if (!any_byte(op.mask.row(i) + first, last - first)) return;  // as in the first frames of a video
    }
    const row_coefficients<typename arithmetic::template real<T>> coefficients(op.steps[i]);
    const T* const x = op.x.row(i);
    const V* const v = op.v.row(i);
    const index_t row = op.of.first(i), count = op.of.count(i);
    for (index_t k = 0; k < count; ++k) {
      const T* const y = op.y.row(row + k);
      if constexpr (Masked) {
        const tile_sums<2> sums = masked_squared_residual<arithmetic, Instructions::value>(
            x, v, y, op.mask.row(i), coefficients, first, last);
        squared[k] += sums.value[0];
        if (k == 0) squared[count] += sums.value[1];
      } else {
        squared[k] += squared_residual<arithmetic, Instructions::value>(x, v, y, coefficients, first, last);
      }
    }
  }

  void conclude(index_t i, const double* squared) const {
    const index_t row = op.of.first(i), count = op.of.count(i),
                  counted = Masked ? static_cast<index_t>(squared[count]) : elements();
    for (index_t k = 0; k < count; ++k) {
      op.log_probs[static_cast<std::size_t>(row + k)] =
          gaussian_log_prob(squared[k], op.steps[i], counted, op.convention);
    }
  }
};

template <host_backend B, storage_scalar T, storage_scalar V>
void run(const operation_arguments<B>& arguments, const log_prob_op<T, V>& op) {
  using arithmetic = typename B::arithmetic;
  const index_t states = op.x.rows();
  if (op.mask.given()) return run_rows(arguments.backend(), states, log_prob_row<true, arithmetic, T, V>{op});
  run_rows(arguments.backend(), states, log_prob_row<false, arithmetic, T, V>{op});
}

}  // namespace tempflow::detail
