// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// fill_noise on host backends.

#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

template <class Arithmetic, storage_scalar T>
struct fill_noise_row {
  using arithmetic = Arithmetic;

  const fill_noise_op<T>& op;
  noise_key key;

  index_t elements() const { return op.out.columns(); }
  index_t sums_before(index_t) const { return 0; }
  double nanoseconds() const { return 0.9; }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double*, Instructions) const {
    const noise_draw draw(op.noise.ids[i], op.noise.antithetic);
    const compute_t<T> sign = draw.negated ? -1 : 1;
    each_noise_chunk<Instructions::value>(
        key, draw.id, op.noise.first_element, first, last,
        [&] TEMPFLOW_INLINE_LAMBDA(const auto& noise, index_t begin, index_t end) {
          const float* const normals = noise;
          write_elements<compute_t<T>, Instructions::value, false, float>(
              op.out.row(i), begin, end,
              [=] TEMPFLOW_INLINE_LAMBDA(auto at) { return sign * decltype(at){at.index - begin}(normals); });
        });
  }

  void conclude(index_t, const double*) const {}
};

template <host_backend B, storage_scalar T>
void run(const operation_arguments<B>& arguments, const fill_noise_op<T>& op) {
  run_rows(arguments.backend(), op.out.rows(), fill_noise_row<typename B::arithmetic, T>{op, *op.noise.key});
}

}  // namespace tempflow::detail
