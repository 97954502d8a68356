// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A batch of samples: rows of contiguous elements. It owns nothing and costs nothing to copy.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>
#include <new>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tempflow/config.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/scalar.hpp"

namespace tempflow {

namespace detail {

/// Throws shape_error unless rows * stride elements can be addressed.
constexpr void check_extents(std::string_view what, index_t rows, index_t stride, std::size_t element_size) {
  const index_t most = (std::numeric_limits<std::ptrdiff_t>::max)() / static_cast<index_t>(element_size);
  if (rows < 0 || stride < 0 || (rows > 0 && stride > most / rows)) {
    throw shape_error(message(what, ": ", rows, " rows of ", stride, " elements of ", element_size,
                              " bytes: negative, or too large to address"));
  }
}

}  // namespace detail

/// View of `rows` samples of `columns` elements each. The elements of a sample are contiguous; samples lie
/// `row_stride` elements apart, so a slice of a larger tensor is a view too.
///
/// A latent of shape (B, C, H, W) is a batch of B rows and C * H * W columns.
template <class T>
  requires storage_scalar<std::remove_const_t<T>>
class batch_view {
 public:
  using element_type = T;
  using value_type = std::remove_const_t<T>;

  /// No samples.
  constexpr batch_view() = default;

  /// Rows packed one after another. Throws shape_error for negative extents, more elements than an address
  /// space holds, or a null pointer to elements.
  constexpr batch_view(T* data, index_t rows, index_t columns) : batch_view(data, rows, columns, columns) {}

  /// Rows `row_stride` elements apart. Throws shape_error as above, and when rows would overlap.
  constexpr batch_view(T* data, index_t rows, index_t columns, index_t row_stride)
      : data_(data), rows_(rows), columns_(columns), row_stride_(row_stride) {
    if (rows < 0 || columns < 0 || (row_stride < columns && rows > 1)) {
      throw shape_error(detail::message("batch_view: ", rows, " rows of ", columns, " elements, ", row_stride,
                                        " apart: extents must not be negative and rows must not overlap"));
    }
    detail::check_extents("batch_view", rows, row_stride, sizeof(T));
    if (data == nullptr && rows > 0 && columns > 0) {
      throw shape_error(detail::message("batch_view: null pointer for ", rows, " x ", columns, " elements"));
    }
  }

  /// A view for reading is made from a view for writing.
  template <std::same_as<value_type> U>
    requires std::is_const_v<T>
  constexpr batch_view(const batch_view<U>& other)
      : batch_view(other.data(), other.rows(), other.columns(), other.row_stride()) {}

  TEMPFLOW_HD constexpr T* data() const { return data_; }
  TEMPFLOW_HD constexpr index_t rows() const { return rows_; }
  TEMPFLOW_HD constexpr index_t columns() const { return columns_; }
  TEMPFLOW_HD constexpr index_t row_stride() const { return row_stride_; }
  TEMPFLOW_HD constexpr bool empty() const { return rows_ == 0 || columns_ == 0; }

  /// First element of sample i.
  TEMPFLOW_HD constexpr T* row(index_t i) const {
    TEMPFLOW_ASSERT(0 <= i && i < rows_);
    return data_ + i * row_stride_;
  }

  /// `count` samples from `first` on. Throws shape_error when they reach past the end.
  constexpr batch_view slice(index_t first, index_t count) const {
    if (first < 0 || count < 0 || first > rows_ - count) {
      throw shape_error(
          detail::message("batch_view: slice of ", count, " rows from row ", first, " of ", rows_));
    }
    return count == 0 ? batch_view(data_, 0, columns_, row_stride_)
                      : batch_view(row(first), count, columns_, row_stride_);
  }

  /// `count` elements of each sample from element `first` on: a modality of it, or a shard. Throws shape_error when
  /// they reach past the end.
  constexpr batch_view columns(index_t first, index_t count) const {
    if (first < 0 || count < 0 || first > columns_ - count) {
      throw shape_error(
          detail::message("batch_view: ", count, " columns from column ", first, " of ", columns_));
    }
    return {empty() ? data_ : data_ + first, rows_, count, row_stride_};
  }

 private:
  T* data_ = nullptr;
  index_t rows_ = 0;
  index_t columns_ = 0;
  index_t row_stride_ = 0;
};

namespace detail {

/// Memory on the boundaries of cache lines, so that no vector lies across two. An element that is made of
/// nothing is left as the memory was.
template <class T>
struct aligned_allocator {
  using value_type = T;
  static constexpr std::align_val_t alignment{64};

  aligned_allocator() = default;
  template <class U>
  aligned_allocator(const aligned_allocator<U>&) {}

  T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), alignment)); }
  void deallocate(T* memory, std::size_t) { ::operator delete(memory, alignment); }
  void construct(T*) {}
  void construct(T* element, const T& value) { ::new (static_cast<void*>(element)) T(value); }
  friend bool operator==(aligned_allocator, aligned_allocator) { return true; }
};

}  // namespace detail

/// Asks a buffer for memory with nothing in it yet: `batch_buffer<float> y(rows, columns, uninitialized);`.
struct uninitialized_t {};
/// See uninitialized_t.
inline constexpr uninitialized_t uninitialized{};

/// A batch that owns its elements, packed row after row. For results and scratch space on the host.
template <storage_scalar T>
class batch_buffer {
 public:
  batch_buffer() = default;

  /// Zeros. Throws shape_error for extents that are negative or too large for memory to address.
  batch_buffer(index_t rows, index_t columns) : batch_buffer(rows, columns, uninitialized) {
    std::fill(elements_.begin(), elements_.end(), T{});
  }

  /// Elements that are yet to be written; throws as above.
  batch_buffer(index_t rows, index_t columns, uninitialized_t) : rows_(rows), columns_(columns) {
    detail::check_extents("batch_buffer", rows, columns, sizeof(T));
    elements_.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns));
  }

  /// The elements. A temporary takes them with it: give it a name first.
  batch_view<T> view() & { return {elements_.data(), rows_, columns_}; }
  batch_view<const T> view() const& { return {elements_.data(), rows_, columns_}; }
  void view() const&& = delete;
  operator batch_view<T>() & { return view(); }
  operator batch_view<const T>() const& { return view(); }
  operator batch_view<const T>() const&& = delete;

  index_t rows() const { return rows_; }
  index_t columns() const { return columns_; }

  /// Another buffer in the same memory, with nothing in it yet.
  batch_buffer like(index_t rows, index_t columns) const { return {rows, columns, uninitialized}; }

 private:
  std::vector<T, detail::aligned_allocator<T>> elements_;
  index_t rows_ = 0;
  index_t columns_ = 0;
};

namespace detail {

/// Throws shape_error unless `actual` has the given extents.
template <class T>
void check_shape(std::string_view operation, std::string_view name, const batch_view<T>& actual, index_t rows,
                 index_t columns) {
  if (actual.rows() != rows || actual.columns() != columns) {
    throw shape_error(message(operation, ": ", name, " is ", actual.rows(), " x ", actual.columns(),
                              ", expected ", rows, " x ", columns));
  }
}

/// Throws shape_error unless a per-row argument has one entry per row.
inline void check_size(std::string_view operation, std::string_view name, std::size_t actual, index_t rows) {
  if (static_cast<index_t>(actual) != rows) {
    throw shape_error(message(operation, ": ", name, " has ", actual, " entries, expected ", rows));
  }
}

}  // namespace detail
}  // namespace tempflow
