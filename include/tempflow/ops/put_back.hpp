// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a condition fixes is put back: y = x in the elements that a mask leaves out. Masked steps end with it.
//
// Traffic: the mask, 1 B per element, and x and y where elements are left out. Bound by memory.

#include <vector>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/put_back.hpp"

namespace tempflow {
namespace detail {

/// What was checked, where there is any.
template <class B, storage_scalar T>
TEMPFLOW_HIDDEN void put_back(const operation_arguments<B>& arguments, const batch_view<const T>& x,
                              const element_mask& mask, const batch_view<T>& y) {
  if (!x.empty() && !y.empty()) execute(arguments, put_back_op<T>{x, mask, y});
}

/// Rows 0, count, 2 count, ...: the first rows of states with as many siblings each.
inline std::vector<index_t> equal_offsets(index_t states, index_t count) {
  std::vector<index_t> offsets;
  for (index_t s = 0; s <= states; ++s) offsets.push_back(s * count);
  return offsets;
}

}  // namespace detail

/// y = x in the elements that the mask leaves out, bit for bit; the others of y stay.
///
/// x: B x D. y: B K x D, where rows i K to i K + K - 1 are those of state i. mask: one row, or B; without one
/// nothing is put back. Throws shape_error for extents that do not fit or batches that share memory, value_error
/// for a mask that counts no element of a row.
template <backend B, batch_like X, storage_scalar T = storage_of<X>>
TEMPFLOW_HIDDEN void put_back(const B& backend, X&& x, element_mask mask, output_batch<T> y) {
  const auto from = detail::as_input(x);
  const index_t rows = from.rows(), count = rows > 0 ? y.rows() / rows : 0;
  detail::check_shape("put_back", "y", y, rows * count, from.columns());
  if (detail::overlap(y, from)) throw shape_error("put_back: x and y share memory");
  const detail::operation_arguments arguments(backend);
  detail::check_mask(arguments, "put_back", mask, rows, from.columns());
  if (mask.given()) detail::put_back(arguments, from, mask, y);
}

TEMPFLOW_NEEDS_BACKEND(put_back);

}  // namespace tempflow
