// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// An argument that is either the same for every row of a batch or given row by row, so that one batch may
// mix steps, branches and prompts.

#include <span>
#include <vector>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {

/// One value for all rows (kept by value), or a value per row (referred to, not copied).
template <class T>
class per_row {
 public:
  /// T{} for every row.
  per_row() = default;

  /// The same value for every row.
  per_row(const T& value) : same_(value) {}

  /// values[i] for row i.
  per_row(std::span<const T> values)
      : values_(values.data()), size_(static_cast<index_t>(values.size())), varies_(true) {}
  per_row(const std::vector<T>& values) : per_row(std::span<const T>(values)) {}
  per_row(std::vector<T>&&) = delete;  // would refer to a vector that is gone

  TEMPFLOW_HD const T& operator[](index_t row) const { return varies_ ? values_[row] : same_; }

  /// True when each row has a value of its own.
  bool varies() const { return varies_; }

  /// True when there is a value for each of `rows` rows.
  bool covers(index_t rows) const { return !varies_ || size_ == rows; }

  /// Values given: one, or one per row.
  index_t size() const { return size_; }

  /// The values where each row has its own, in the memory that they were given in; else null.
  const T* data() const { return values_; }

 private:
  T same_{};
  const T* values_ = nullptr;
  index_t size_ = 1;
  bool varies_ = false;
};

}  // namespace tempflow
