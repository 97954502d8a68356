// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Standard normal noise for a batch, by identity.

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/detail/rows.hpp"
#include "tempflow/ops/checks.hpp"
#include "tempflow/ops/row.hpp"

namespace tempflow {
namespace detail {

template <class Arithmetic, storage_scalar T>
struct fill_noise_row {
  using arithmetic = Arithmetic;

  batch_view<T> out;
  noise_key key;
  per_row<noise_id> ids;

  index_t elements() const { return out.columns(); }
  index_t sums() const { return 0; }
  double nanoseconds() const { return 0.9; }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double*, Instructions) const {
    write_with_noise<compute_t<T>, Instructions::value>(
        out.row(i), key, ids[i], first, last, [](auto, auto z) TEMPFLOW_INLINE_LAMBDA { return z; });
  }

  void conclude(index_t, const double*) const {}
};

}  // namespace detail

/// Fills each row of `out` (B x D) with the standard normals of its id: the start of a trajectory at sigma =
/// 1, or the noise of a step drawn again. The values are fp32 normals, rounded to the storage type. Throws
/// shape_error when there are neither one nor B ids.
template <backend B, storage_scalar T>
void fill_noise(const B& place, noise_key key, per_row<noise_id> ids, batch_view<T> out) {
  detail::check_noise_ids("fill_noise", ids, out.rows(), out.columns());
  run_rows(place, out.rows(), detail::fill_noise_row<typename B::arithmetic, T>{out, key, ids});
}

}  // namespace tempflow
