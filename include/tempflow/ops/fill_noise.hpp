// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Standard normal noise for a batch, by identity.

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/detail/kernel.hpp"
#include "tempflow/ops/checks.hpp"

namespace tempflow {
namespace detail {

template <storage_scalar T>
struct fill_noise_row {
  using kernel_tag = kernel;

  batch_view<T> out;
  noise_key key;
  per_row<noise_id> ids;

  void operator()(index_t i) const {
    T* const row = out.row(i);
    for (index_t e = 0; e < out.columns(); e += 4) {
      const normal_quad noise = noise_block(key, ids[i], e / 4);
      for (index_t k = 0; k < 4 && e + k < out.columns(); ++k) row[e + k] = store<T>(noise.value[k]);
    }
  }
};

}  // namespace detail

/// Fills each row of `out` (B x D) with the standard normals of its id: the start of a trajectory at sigma =
/// 1, or the noise of a step drawn again. The values are fp32 normals, rounded to the storage type. Throws
/// shape_error when there are neither one nor B ids.
template <backend B, storage_scalar T>
void fill_noise(const B& place, noise_key key, per_row<noise_id> ids, batch_view<T> out) {
  detail::check_noise_ids("fill_noise", ids, out.rows(), out.columns());
  place.for_each_index(out.rows(), detail::fill_noise_row<T>{out, key, ids});
}

}  // namespace tempflow
