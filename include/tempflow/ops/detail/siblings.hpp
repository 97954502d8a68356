// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which transitions leave each state of a batch: rows offsets[s] to offsets[s + 1] of y leave state s, as in a
// matrix of compressed rows. Structure, like an extent: the host reads it when an operation is called.

#include <cstddef>
#include <span>
#include <string_view>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/ops/detail/operation_arguments.hpp"

namespace tempflow::detail {

/// The transitions of each state. Refers to the offsets.
class siblings {
 public:
  /// One for each state.
  explicit siblings(index_t states) : states_(states), rows_(states) {}

  /// By offsets that have been checked; empty for one each.
  siblings(std::span<const index_t> offsets, index_t states) : siblings(states) {
    if (offsets.empty()) return;
    rows_ = offsets.back();
    bool one_each = true;
    for (index_t s = 0; s <= states; ++s) one_each = one_each && offsets[static_cast<std::size_t>(s)] == s;
    if (!one_each) offsets_ = offsets.data();
  }

  index_t states() const { return states_; }
  index_t rows() const { return rows_; }

  /// Whether row s is all that leaves state s.
  bool one_each() const { return offsets_ == nullptr; }

  /// The first row of a state; that of the state behind the last is the end.
  index_t first(index_t state) const { return one_each() ? state : offsets_[state]; }

  /// The rows of a state: any number.
  index_t count(index_t state) const { return first(state + 1) - first(state); }

  /// The same, on average.
  double mean_count() const { return static_cast<double>(rows_) / static_cast<double>(states_); }

 private:
  const index_t* offsets_ = nullptr;
  index_t states_, rows_;
};

/// Throws shape_error for offsets that do not cut `rows` rows into those of `states` states, memory_error where the
/// host cannot read them.
template <class B>
siblings check_siblings(const operation_arguments<B>& arguments, std::string_view operation,
                        std::span<const index_t> offsets, index_t states, index_t rows) {
  if (offsets.empty()) return siblings(states);
  arguments.check_host_reads(operation, "offsets", offsets.data());
  check_size(operation, "offsets", offsets.size(), states + 1);
  if (offsets.front() != 0) {
    throw shape_error(message(operation, ": offsets[0] = ", offsets.front(), ", must be 0"));
  }
  for (std::size_t s = 1; s < offsets.size(); ++s) {
    if (offsets[s] < offsets[s - 1]) {
      throw shape_error(message(operation, ": offsets[", s, "] = ", offsets[s], " is below offsets[", s - 1,
                                "] = ", offsets[s - 1]));
    }
  }
  if (offsets.back() != rows) {
    throw shape_error(
        message(operation, ": offsets end at ", offsets.back(), ", the batch has ", rows, " rows"));
  }
  return {offsets, states};
}

}  // namespace tempflow::detail
