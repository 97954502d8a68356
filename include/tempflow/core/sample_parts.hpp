// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Parts of a sample that have a policy each: its modalities (video and audio in one row), or the actions of a chunk.

#include <cstddef>
#include <utility>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {

/// Some neighbouring elements of each row.
struct sample_part {
  index_t first = 0;
  index_t count = 0;

  friend constexpr bool operator==(sample_part, sample_part) = default;
};

/// Parts of rows, in their order. They need not cover a row: what is in no part is left alone.
class sample_parts {
 public:
  /// Throws shape_error for no parts, and names a part that is empty, reaches past `columns`, or begins before the end
  /// of the part before it.
  sample_parts(std::vector<sample_part> parts, index_t columns)
      : parts_(std::move(parts)), columns_(columns) {
    if (parts_.empty()) throw shape_error("sample_parts: no parts");
    index_t end = 0;
    for (std::size_t p = 0; p < parts_.size(); ++p) {
      const index_t first = parts_[p].first, count = parts_[p].count;
      const auto reject = [&](const auto&... why) {
        throw shape_error(detail::message("sample_parts: part ", p, ", ", count, " elements from element ",
                                          first, " on, ", why...));
      };
      if (count < 1) reject("is empty");
      if (first < 0 || count > columns || first > columns - count) reject("is not in a row of ", columns);
      if (first < end) reject("begins before the end of part ", p - 1, " at element ", end);
      end = first + count;
    }
  }

  std::size_t size() const { return parts_.size(); }
  index_t columns() const { return columns_; }  ///< of a row
  const sample_part& operator[](std::size_t part) const { return parts_[part]; }
  auto begin() const { return parts_.begin(); }
  auto end() const { return parts_.end(); }

 private:
  std::vector<sample_part> parts_;
  index_t columns_;
};

/// `count` parts of as many elements each: the actions of a chunk. Throws shape_error unless they fill rows of
/// `columns`.
inline sample_parts equal_parts(index_t count, index_t columns) {
  if (count < 1 || columns < 1 || columns % count != 0) {
    throw shape_error(detail::message("equal_parts: ", count, " parts of a row of ", columns, " elements"));
  }
  std::vector<sample_part> parts;
  for (index_t p = 0; p < count; ++p)
    parts.push_back({.first = p * (columns / count), .count = columns / count});
  return {std::move(parts), columns};
}

}  // namespace tempflow
