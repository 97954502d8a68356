// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// branch_step on host backends.

#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

template <class Arithmetic, storage_scalar T>
struct branch_step_row {
  using arithmetic = Arithmetic;

  const branch_step_op<T>& op;
  noise_key key;

  index_t elements() const { return op.x.columns(); }
  index_t sums() const { return op.explorations(); }
  double nanoseconds() const { return 0.3 + 1.2 * static_cast<double>(sums()); }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* squared,
                                 Instructions) const {
    using coefficients = row_coefficients<typename arithmetic::template real<T>>;
    const T *const x = op.x.row(i), *const v = op.v.row(i);
    const coefficients trunk(op.trunk_steps[i]), branch(op.branch_steps[i]);
    advance<arithmetic, Instructions::value>(x, v, op.trunk.row(i), trunk, first, last);
    const index_t explorations = sums();
    noise_id id = op.noise.ids[i];
    for (index_t k = 0; k < explorations; ++k, ++id.branch) {
      T* const y = op.branches.row(i * explorations + k);
      sample<arithmetic, Instructions::value>(x, v, y, branch, key, id, first, last);
      squared[k] += squared_residual<arithmetic, Instructions::value>(x, v, y, branch, first, last);
    }
  }

  void conclude(index_t i, const double* squared) const {
    for (index_t k = 0; k < sums(); ++k) {
      op.log_probs[static_cast<std::size_t>(i * sums() + k)] =
          gaussian_log_prob(squared[k], op.branch_steps[i], elements(), op.convention);
    }
  }
};

template <host_backend B, storage_scalar T>
void run(const operation_arguments<B>& arguments, const branch_step_op<T>& op) {
  run_rows(arguments.backend(), op.x.rows(), branch_step_row<typename B::arithmetic, T>{op, *op.noise.key});
}

}  // namespace tempflow::detail
