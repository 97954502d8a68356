// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/core/batch_view.hpp>

namespace fashion {

/// A factor of a matrix product: a matrix in row order, or its transpose.
struct factor {
  tempflow::batch_view<const float> matrix;
  bool is_transposed = false;

  factor(tempflow::batch_view<const float> plain) : matrix{plain} {}
  factor(tempflow::batch_view<float> plain) : matrix{plain} {}

  tempflow::index_t columns() const { return is_transposed ? matrix.rows() : matrix.columns(); }
};

inline factor transposed(factor of) {
  of.is_transposed = !of.is_transposed;
  return of;
}

/// multiply(a, b, keep, c): c = keep c + a b, in the stream's order.
template <class G>
concept gemm = requires(const G& multiply, const factor& a, float keep, tempflow::batch_view<float> c) {
  multiply(a, a, keep, c);
};

}  // namespace fashion
