// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>
#include <span>

#include "task.hpp"

namespace fashion {

/// A batch: one row a sample, rows contiguous.
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using vector = Eigen::VectorXf;
using const_matrix_view = Eigen::Ref<const matrix>;

/// Networks always run in tiles of this many rows, the last one padded. A matrix product may round
/// differently for another shape, so a fixed shape makes each row's result independent of the batch that it
/// sits in.
inline constexpr int tile_rows = 64;

/// The elements of a vector or packed matrix.
template <class Dense>
auto elements(Dense&& dense) {
  return std::span(dense.data(), static_cast<std::size_t>(dense.size()));
}

inline int tiles_of(Eigen::Index rows) { return static_cast<int>((rows + tile_rows - 1) / tile_rows); }

}  // namespace fashion
