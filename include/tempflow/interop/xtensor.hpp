// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// xtensor containers, adaptors and strided views as batches, and batches as xtensor adaptors: the same
// memory, nothing copied.
//
// The first dimension counts the samples, all others together are a sample's elements: a tensor of shape
// (B, C, H, W) is a batch of B rows and C * H * W columns, one of shape (B) is B samples of one element. The
// elements of a sample must be packed in row-major order, xtensor's default; samples may lie further apart.

#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#if __has_include(<xtensor/containers/xadapt.hpp>)
#include <xtensor/containers/xadapt.hpp>  // 0.26 and later
#else
#include <xtensor/xadapt.hpp>
#endif

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"

namespace tempflow {
namespace detail {

template <class E>
concept xtensor_strided = requires(E& tensor) {
  tensor.storage().data() + tensor.data_offset();
  tensor.shape();
  tensor.strides();
};

/// A tensor over elements in memory: xarray, xtensor, xtensor_fixed, their adaptors, and strided views.
template <class E>
concept xtensor_memory = std::derived_from<std::remove_const_t<E>, xt::xexpression<std::remove_const_t<E>>> &&
    storage_scalar<typename E::value_type> && xtensor_strided<E>;

/// const for tensors that only let their elements be read.
template <class E>
using xtensor_element = std::remove_pointer_t<decltype(std::declval<E&>().storage().data())>;

/// (2, 3, 4).
template <class Shape>
std::string xtensor_shape(const Shape& shape) {
  std::string text;
  for (const auto extent : shape) text += message(text.empty() ? "" : ", ", extent);
  return message("(", text, ")");
}

}  // namespace detail

/// The batch that a tensor holds: shape (B, ...) gives B rows, and as many columns as the other extents
/// multiply to.
///
/// A const tensor, or one over const memory, gives a batch for reading. Element types are float, double and
/// the library's 16-bit types. The view lives as long as the tensor's memory. Throws shape_error for a tensor
/// without dimensions, or with samples that are not packed in row-major order.
template <detail::xtensor_memory E>
batch_view<detail::xtensor_element<E>> batch_view_of(E& tensor) {
  const auto& shape = tensor.shape();
  const auto& strides = tensor.strides();
  if (shape.size() == 0) throw shape_error("batch_view_of: the tensor has shape (), expected (samples, ...)");
  index_t elements = 1;
  bool packed = true;
  for (std::size_t d = shape.size() - 1; d > 0; --d) {  // the stride of an extent of 1 means nothing
    packed = packed && (shape[d] == 1 || static_cast<index_t>(strides[d]) == elements);
    elements *= static_cast<index_t>(shape[d]);
  }
  if (!packed && elements > 0) {
    throw shape_error(detail::message("batch_view_of: the tensor of shape ", detail::xtensor_shape(shape),
                                      " has strides ", detail::xtensor_shape(strides), ", the ", elements,
                                      " elements of a sample must be packed in row-major order"));
  }
  const auto samples = static_cast<index_t>(shape[0]);
  return {tensor.storage().data() + tensor.data_offset(), samples, elements,
          samples > 1 && elements > 0 ? static_cast<index_t>(strides[0]) : elements};
}

/// As above, for a batch of `rows` samples of `columns` elements each.
/// Throws shape_error as above, and when the tensor holds another shape: the message names both.
template <detail::xtensor_memory E>
batch_view<detail::xtensor_element<E>> batch_view_of(E& tensor, index_t rows, index_t columns) {
  const auto batch = batch_view_of(tensor);
  if (batch.rows() != rows || batch.columns() != columns) {
    throw shape_error(detail::message(
        "batch_view_of: the tensor of shape ", detail::xtensor_shape(tensor.shape()), " is ", batch.rows(),
        " samples of ", batch.columns(), " elements; expected ", rows, " samples of ", columns));
  }
  return batch;
}

/// A temporary may take its elements with it: give it a name first. (For some of the samples, slice the
/// batch.)
template <detail::xtensor_memory E, class... Extents>
void batch_view_of(const E&& temporary, Extents... expected) = delete;

/// A batch as a tensor of shape (B, shape...). The adaptor writes to the batch's memory, or only reads it
/// when the batch is const; rows that are not packed keep their stride. Throws shape_error unless the extents
/// of `shape` multiply to the batch's columns.
template <class T, std::size_t N>
auto xtensor_adapt(batch_view<T> batch, const std::array<std::size_t, N>& shape) {
  std::array<std::size_t, N + 1> extents{static_cast<std::size_t>(batch.rows())};
  std::array<std::ptrdiff_t, N + 1> strides{};
  std::ptrdiff_t elements = 1;
  for (std::size_t d = N; d > 0; --d) {
    extents[d] = shape[d - 1];
    strides[d] = elements;
    elements *= static_cast<std::ptrdiff_t>(shape[d - 1]);
  }
  if (elements != batch.columns()) {
    throw shape_error(detail::message("xtensor_adapt: the shape ", detail::xtensor_shape(shape), " has ",
                                      elements, " elements, expected the batch's ", batch.columns(),
                                      " columns"));
  }
  strides[0] = static_cast<std::ptrdiff_t>(batch.row_stride());
  // xtensor wants as many elements as the shape has, however far apart the strides put them.
  return xt::adapt(batch.data(), static_cast<std::size_t>(batch.rows() * batch.columns()), xt::no_ownership(),
                   extents, strides);
}

/// A batch as a tensor of shape (B, D).
template <class T>
auto xtensor_adapt(batch_view<T> batch) {
  return xtensor_adapt(batch, std::array{static_cast<std::size_t>(batch.columns())});
}

}  // namespace tempflow
