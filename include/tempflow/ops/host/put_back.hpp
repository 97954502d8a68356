// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// put_back on host backends.

#include <cstdint>

#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

/// A state and the rows that leave it.
template <class Arithmetic, storage_scalar T>
struct put_back_row {
  using arithmetic = Arithmetic;

  const put_back_op<T>& op;

  index_t elements() const { return op.x.columns(); }
  index_t sums_before(index_t) const { return 0; }
  double nanoseconds() const { return 0.3 * static_cast<double>(op.per_state()); }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double*, Instructions) const {
    const T* const x = op.x.row(i);
    const std::uint8_t* const mask = op.mask.row(i);
    for (index_t k = 0; k < op.per_state(); ++k) {
      T* const y = op.y.row(i * op.per_state() + k);
      index_t e = first;
      for (; e + 8 <= last; e += 8) {
        const std::uint64_t counts = mask_word(mask + e);
        if (counts == 0) {
          for (index_t j = e; j < e + 8; ++j) y[j] = x[j];
        } else if (has_zero_byte(counts)) {
          for (index_t j = e; j < e + 8; ++j) y[j] = mask[j] != 0 ? y[j] : x[j];
        }
      }
      for (; e < last; ++e) {
        if (mask[e] == 0) y[e] = x[e];
      }
    }
  }

  void conclude(index_t, const double*) const {}
};

template <host_backend B, storage_scalar T>
void run(const operation_arguments<B>& arguments, const put_back_op<T>& op) {
  run_rows(arguments.backend(), op.x.rows(), put_back_row<typename B::arithmetic, T>{op});
}

}  // namespace tempflow::detail
