// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// An argument that is either the same for every row of a batch or given row by row, so that one batch may
// mix steps, branches and prompts.

#include <span>
#include <vector>

#include "tempflow/core/index.hpp"

namespace tempflow {

/// One value for all rows (kept by value), or a value a row (referred to, not copied).
template <class T>
class per_row {
 public:
  /// T{} for every row.
  per_row() = default;

  /// The same value for every row.
  per_row(const T& value) : same_(value) {}

  /// values[i] for row i.
  per_row(std::span<const T> values) : values_(values), varies_(true) {}
  per_row(const std::vector<T>& values) : per_row(std::span<const T>(values)) {}
  per_row(std::vector<T>&&) = delete;  // would refer to a vector that is gone

  const T& operator[](index_t row) const { return varies_ ? values_[static_cast<std::size_t>(row)] : same_; }

  /// True when each row has a value of its own.
  bool varies() const { return varies_; }

  /// True when there is a value for each of `rows` rows.
  bool covers(index_t rows) const { return !varies_ || static_cast<index_t>(values_.size()) == rows; }

  /// Values given: one, or one a row.
  index_t size() const { return varies_ ? static_cast<index_t>(values_.size()) : 1; }

 private:
  T same_{};
  std::span<const T> values_;
  bool varies_ = false;
};

}  // namespace tempflow
