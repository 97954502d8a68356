// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// branch_step on host backends.

#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

template <class Arithmetic, storage_scalar T, storage_scalar V>
struct branch_step_row {
  using arithmetic = Arithmetic;

  const branch_step_op<T, V>& op;
  noise_key key;

  index_t elements() const { return op.x.columns(); }
  index_t sums_before(index_t i) const { return i * op.explorations(); }
  double nanoseconds() const { return 0.3 + 1.2 * static_cast<double>(op.explorations()); }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* squared,
                                 Instructions) const {
    using coefficients = row_coefficients<typename arithmetic::template real<T>>;
    const T* const x = op.x.row(i);
    const V* const v = op.v.row(i);
    if (!op.trunk.empty()) {
      const coefficients trunk(op.trunk_steps[i]);
      advance<arithmetic, Instructions::value>(x, v, op.trunk.row(i), trunk, first, last);
    }
    const index_t explorations = op.explorations();
    noise_id id = op.noise.ids[i];
    for (index_t k = 0, drawn = 0; k < explorations; ++k, ++id.branch) {
      T* const y = op.branches.row(i * explorations + k);
      const noise_draw draw(id, op.noise.antithetic);
      const coefficients branch(op.branch_steps[i], draw);
      if (k == drawn) {  // with the one that takes minus the same noise, where it is next
        const bool is_pair = op.noise.antithetic && !draw.negated && k + 1 < explorations;
        T* const opposite = is_pair ? op.branches.row(i * explorations + k + 1) : nullptr;
        sample<arithmetic, Instructions::value>(x, v, y, branch, key, draw.id, op.noise.first_element, first,
                                                last, opposite);
        drawn += is_pair ? 2 : 1;
      }
      squared[k] += squared_residual<arithmetic, Instructions::value>(x, v, y, branch, first, last);
    }
  }

  void conclude(index_t i, const double* squared) const {
    const index_t explorations = op.explorations();
    for (index_t k = 0; k < explorations; ++k) {
      op.log_probs[static_cast<std::size_t>(i * explorations + k)] =
          gaussian_log_prob(squared[k], op.branch_steps[i], elements(), op.convention);
    }
  }
};

template <host_backend B, storage_scalar T, storage_scalar V>
void run(const operation_arguments<B>& arguments, const branch_step_op<T, V>& op) {
  run_rows(arguments.backend(), op.x.rows(),
           branch_step_row<typename B::arithmetic, T, V>{op, *op.noise.key});
}

}  // namespace tempflow::detail
