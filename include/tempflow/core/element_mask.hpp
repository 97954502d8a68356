// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which elements of a sample count: all but those that a condition fixes (the first frame of a video, padding, parts
// of another modality). It owns nothing and costs nothing to copy.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tempflow/config.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {

namespace detail {

/// Eight bytes of a mask at once.
inline std::uint64_t mask_word(const std::uint8_t* bytes) {
  std::uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

/// 1 in each byte of a word that is not 0.
constexpr std::uint64_t counted_of_word(std::uint64_t word) {
  constexpr std::uint64_t ones = 0x0101010101010101u, low_bits = 0x7f7f7f7f7f7f7f7fu;
  return ((((word & low_bits) + low_bits) | word) >> 7) & ones;
}
constexpr bool has_zero_byte(std::uint64_t word) { return counted_of_word(word) != 0x0101010101010101u; }

/// How many of `count` bytes are not 0.
inline index_t counted_bytes(const std::uint8_t* bytes, index_t count) {
  constexpr index_t max_words = 255;  // that a sum of bytes takes
  index_t counted = 0, e = 0;
  while (count - e >= 8) {
    std::uint64_t sums = 0;
    for (index_t w = 0; w < max_words && count - e >= 8; ++w, e += 8) {
      sums += counted_of_word(mask_word(bytes + e));
    }
    constexpr std::uint64_t even = 0x00ff00ff00ff00ffu, halves = 0x0001000100010001u;
    counted += static_cast<index_t>((((sums & even) + ((sums >> 8) & even)) * halves) >> 48);
  }
  for (; e < count; ++e) counted += bytes[e] != 0 ? 1 : 0;
  return counted;
}

/// Whether one of `count` bytes is not 0.
inline bool any_byte(const std::uint8_t* bytes, index_t count) {
  constexpr index_t at_once = 64;
  index_t e = 0;
  for (; e + at_once <= count; e += at_once) {
    std::uint64_t some = 0;
    for (index_t w = 0; w < at_once; w += 8) some |= mask_word(bytes + e + w);
    if (some != 0) return true;
  }
  for (; e < count; ++e) {
    if (bytes[e] != 0) return true;
  }
  return false;
}

}  // namespace detail

/// View of a byte for each element: 0 leaves it out, anything else counts it. One row for all states of a batch, or
/// one for each. What is left out may hold anything, NaN included, and enters nothing.
///
/// Tensors of bools are bytes, and so masks. It lies where the batch lies: for a device backend in device memory.
class element_mask {
 public:
  /// No mask: all elements count.
  constexpr element_mask() = default;

  /// Rows packed one after another. Throws shape_error for negative extents, more bytes than an address space holds,
  /// or a null pointer to elements.
  constexpr element_mask(const std::uint8_t* data, index_t rows, index_t columns)
      : element_mask(data, rows, columns, columns) {}
  element_mask(const bool* data, index_t rows, index_t columns)
      : element_mask(data, rows, columns, columns) {}

  /// Rows `row_stride` bytes apart. Throws shape_error as above, and when rows would overlap.
  constexpr element_mask(const std::uint8_t* data, index_t rows, index_t columns, index_t row_stride)
      : data_(data), rows_(rows), columns_(columns), row_stride_(row_stride) {
    if (rows < 0 || columns < 0 || (row_stride < columns && rows > 1)) {
      throw shape_error(detail::message("element_mask: ", rows, " rows of ", columns, " elements, ",
                                        row_stride,
                                        " apart: extents must not be negative and rows must not overlap"));
    }
    detail::check_extents("element_mask", rows, row_stride, 1);
    if (data == nullptr && rows > 0 && columns > 0) {
      throw shape_error(
          detail::message("element_mask: null pointer for ", rows, " x ", columns, " elements"));
    }
  }
  element_mask(const bool* data, index_t rows, index_t columns, index_t row_stride)
      : element_mask(reinterpret_cast<const std::uint8_t*>(data), rows, columns, row_stride) {
    static_assert(sizeof(bool) == 1);
  }
  element_mask(std::nullptr_t, index_t, index_t, index_t = 0) = delete;

  /// False for {}: no mask.
  TEMPFLOW_HD constexpr bool given() const { return data_ != nullptr || rows_ > 0 || columns_ > 0; }

  TEMPFLOW_HD constexpr const std::uint8_t* data() const { return data_; }
  TEMPFLOW_HD constexpr index_t rows() const { return rows_; }
  TEMPFLOW_HD constexpr index_t columns() const { return columns_; }
  TEMPFLOW_HD constexpr index_t row_stride() const { return row_stride_; }

  /// The bytes of state i: its own row's, or those of the one row that all share.
  TEMPFLOW_HD constexpr const std::uint8_t* row(index_t i) const {
    TEMPFLOW_ASSERT(0 <= i && (rows_ == 1 || i < rows_));
    return rows_ == 1 ? data_ : data_ + i * row_stride_;
  }

  /// That of `count` elements of each row from element `first` on; none of none. Throws shape_error when they reach
  /// past the end.
  constexpr element_mask columns(index_t first, index_t count) const {
    if (!given()) return {};
    if (first < 0 || count < 0 || first > columns_ - count) {
      throw shape_error(
          detail::message("element_mask: ", count, " columns from column ", first, " of ", columns_));
    }
    return {data_ == nullptr ? data_ : data_ + first, rows_, count, row_stride_};
  }

  /// How many elements of state i count. Host memory.
  index_t count(index_t i) const { return detail::counted_bytes(row(i), columns_); }

 private:
  const std::uint8_t* data_ = nullptr;
  index_t rows_ = 0;
  index_t columns_ = 0;
  index_t row_stride_ = 0;
};

}  // namespace tempflow
