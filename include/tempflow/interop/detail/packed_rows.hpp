// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Strided tensors as batches, and batches as strided tensors: the arithmetic of extents and strides, with
// everything checked that another library may get wrong.

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow::detail {

/// (2, 3, 4).
inline std::string tuple_text(std::span<const index_t> values) {
  std::string text;
  for (const index_t value : values) text += message(text.empty() ? "" : ", ", value);
  return message("(", text, ")");
}

/// What a batch_view is made of, but for the pointer.
struct packed_rows {
  index_t rows, columns, row_stride;
};

/// The most elements that an address space holds.
inline index_t max_elements(std::size_t element_size) {
  return static_cast<index_t>((std::numeric_limits<std::ptrdiff_t>::max)()) /
         static_cast<index_t>(element_size);
}

/// The product of extents, 0 if one of them is; -1 if one is negative or the product is more than `most`.
inline index_t product_of(std::span<const index_t> extents, index_t most) {
  bool none = false;
  for (const index_t extent : extents) {
    if (extent < 0) return -1;
    none = none || extent == 0;
  }
  index_t product = none ? 0 : 1;
  for (const index_t extent : extents) {
    if (product == 0) break;
    if (product > most / extent) return -1;
    product *= extent;
  }
  return product;
}

/// The rows of a tensor of shape (rows, ...). No strides: packed in row-major order. The stride of an extent
/// of 1 means nothing, and none does in a tensor without elements.
///
/// Throws shape_error as batch_view_of does; `tensor()` is what messages call it.
template <class Describe>
packed_rows rows_of_tensor(std::span<const index_t> shape, std::span<const index_t> strides,
                           std::size_t element_size, const Describe& tensor) {
  if (shape.empty()) throw shape_error(message("batch_view_of: ", tensor(), ", expected (samples, ...)"));
  const index_t most = max_elements(element_size);
  const index_t rows = shape[0], columns = product_of(shape.subspan(1), most);
  if (rows < 0 || columns < 0) {
    throw shape_error(
        message("batch_view_of: ", tensor(), ": extents are negative, or too large to address"));
  }
  if (rows == 0 || columns == 0) return {rows, columns, columns};
  index_t packed = 1;
  for (std::size_t d = shape.size() - 1; d > 0 && !strides.empty(); --d) {
    if (shape[d] != 1 && strides[d] != packed) {
      throw shape_error(message("batch_view_of: ", tensor(), ": the ", columns,
                                " elements of a sample must be packed in row-major order"));
    }
    packed *= shape[d];
  }
  const index_t row_stride = rows > 1 && !strides.empty() ? strides[0] : columns;
  if (row_stride < columns) {
    throw shape_error(message("batch_view_of: ", tensor(), ": samples of ", columns, " elements, ",
                              row_stride, " apart: rows must not overlap"));
  }
  if (row_stride > most / rows) {
    throw shape_error(message("batch_view_of: ", tensor(), ": too large to address"));
  }
  return {rows, columns, row_stride};
}

/// Throws shape_error unless the tensor holds `rows` samples of `columns` elements: names both.
template <class Describe>
void check_rows(index_t actual_rows, index_t actual_columns, index_t rows, index_t columns,
                const Describe& tensor) {
  if (actual_rows != rows || actual_columns != columns) {
    throw shape_error(message("batch_view_of: ", tensor(), " is ", actual_rows, " samples of ",
                              actual_columns, " elements; expected ", rows, " samples of ", columns));
  }
}

/// The strides of (rows, shape...) over rows `row_stride` elements apart: those of an extent of 0 or 1 as if
/// it mattered, positive and growing. Throws shape_error unless the extents of `shape` multiply to `columns`;
/// `operation` begins the message.
inline std::vector<index_t> strides_of_rows(std::string_view operation, std::span<const index_t> shape,
                                            index_t columns, index_t row_stride) {
  constexpr index_t most = (std::numeric_limits<index_t>::max)();
  const index_t elements = product_of(shape, most);
  std::vector<index_t> filled(shape.begin(), shape.end());
  for (index_t& extent : filled) extent = (std::max)(extent, index_t{1});
  const index_t packed = product_of(filled, most);
  if (elements != columns || packed < 0) {
    const auto text = elements < 0 || packed < 0 ? std::string("extents that are negative or too large")
                                                 : message(elements, " elements");
    throw shape_error(message(operation, ": the shape ", tuple_text(shape), " has ", text,
                              ", expected the batch's ", columns, " columns"));
  }
  std::vector<index_t> strides(shape.size() + 1, 1);
  for (std::size_t d = shape.size(); d > 1; --d) strides[d - 1] = strides[d] * filled[d - 1];
  strides[0] = (std::max)(row_stride, packed);
  return strides;
}

}  // namespace tempflow::detail
