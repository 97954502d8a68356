// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Eigen matrices and arrays as batches, and batches as Eigen maps: the same memory, nothing copied.
//
// The elements of a sample lie side by side, so the storage order decides what a sample is:
//
//   column-major (Eigen's default), D x B:  a column is a sample
//   row-major, B x D:                       a row is a sample
//   a vector of either kind:                one sample
//
// Both orders give a batch of B rows and D columns. Matrix, Array, Map, Ref, Block and their transposes are
// taken; a view lives as long as the memory that it looks at.

#include <Eigen/Core>
#include <string>
#include <type_traits>
#include <utility>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"

namespace tempflow {
namespace detail {

template <class D>
void dense(const Eigen::DenseBase<D>&);
template <class D>
void owner(const Eigen::PlainObjectBase<D>&);
template <class D, int Options, class Stride>
void owner(const Eigen::Ref<const D, Options, Stride>&);  // it may hold a copy

template <class M>
concept eigen_dense = requires(const M& matrix) {
  detail::dense(matrix);
};

/// An object that takes its elements with it when it dies.
template <class M>
concept eigen_owner = requires(const M& matrix) {
  detail::owner(matrix);
};

/// An Eigen object over elements in memory.
template <class M>
concept eigen_memory = eigen_dense<M> && storage_scalar<typename M::Scalar> &&
                       (static_cast<unsigned>(M::Flags) & Eigen::DirectAccessBit) != 0;

/// What batch_view_of(M&&) takes: anything but a temporary that owns its elements.
template <class M>
concept eigen_argument = eigen_memory<std::remove_cvref_t<M>> &&
    (std::is_lvalue_reference_v<M> || !eigen_owner<std::remove_cvref_t<M>>);

/// const for objects that only let their elements be read.
template <class M>
using eigen_element = std::remove_pointer_t<decltype(std::declval<std::remove_reference_t<M>&>().data())>;

template <class M>
std::string eigen_shape(const M& matrix) {
  return message(matrix.rows(), " x ", matrix.cols(), ", ", M::IsRowMajor ? "row" : "column",
                 "-major, that is ", matrix.outerSize(), " samples of ", matrix.innerSize(), " elements");
}

template <class T, int Order>
using eigen_matrix = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Order>;

template <class T, int Order>
using eigen_map_of =
    Eigen::Map<std::conditional_t<std::is_const_v<T>, const eigen_matrix<T, Order>, eigen_matrix<T, Order>>,
               Eigen::Unaligned, Eigen::OuterStride<>>;

}  // namespace detail

/// The batch that a matrix or array holds: its rows (row-major) or columns (column-major) are the samples.
///
/// A const object, or one over const memory, gives a batch for reading; a const Map does too, as in Eigen.
/// Element types are float, double and the library's 16-bit types. A block of a temporary dangles, as it does
/// in Eigen.
/// Throws shape_error when the elements of a sample do not lie side by side (inner stride other than 1).
template <detail::eigen_argument M>
batch_view<detail::eigen_element<M>> batch_view_of(M&& matrix) {
  const index_t samples = matrix.outerSize(), elements = matrix.innerSize();
  if (matrix.innerStride() != 1 && elements > 1) {
    throw shape_error(detail::message("batch_view_of: the matrix (", detail::eigen_shape(matrix),
                                      ") has inner stride ", matrix.innerStride(),
                                      ", the elements of a sample must lie side by side"));
  }
  return {matrix.data(), samples, elements,
          samples > 1 ? static_cast<index_t>(matrix.outerStride()) : elements};
}

/// As above, for a batch of `rows` samples of `columns` elements each.
/// Throws shape_error as above, and when the matrix holds another shape: the message names both.
template <detail::eigen_argument M>
batch_view<detail::eigen_element<M>> batch_view_of(M&& matrix, index_t rows, index_t columns) {
  if (matrix.outerSize() != rows || matrix.innerSize() != columns) {
    throw shape_error(detail::message("batch_view_of: the matrix is ", detail::eigen_shape(matrix),
                                      "; expected ", rows, " samples of ", columns));
  }
  return batch_view_of(std::forward<M>(matrix));
}

/// A temporary Matrix, Array or Ref to const would take its elements with it: give it a name first.
template <class M, class... Extents>
  requires(detail::eigen_memory<std::remove_cvref_t<M>> && !detail::eigen_argument<M>)
void batch_view_of(M&& temporary, Extents... expected) = delete;

/// A batch as an Eigen matrix of B x D: a row is a sample, as in the batch's own rows() and columns(). The
/// map writes to the batch's memory, or only reads it when the batch is const; rows that are not packed keep
/// their stride.
template <class T>
auto eigen_map(batch_view<T> batch) {
  return detail::eigen_map_of<T, Eigen::RowMajor>(batch.data(), batch.rows(), batch.columns(),
                                                  Eigen::OuterStride<>(batch.row_stride()));
}

/// A batch as an Eigen matrix of D x B: a column is a sample. The memory is eigen_map's, the order Eigen's
/// default.
template <class T>
auto eigen_map_columns(batch_view<T> batch) {
  return detail::eigen_map_of<T, Eigen::ColMajor>(batch.data(), batch.columns(), batch.rows(),
                                                  Eigen::OuterStride<>(batch.row_stride()));
}

}  // namespace tempflow
