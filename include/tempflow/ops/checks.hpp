// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Checks at the boundary of every operation: always on, before anything is written.

#include <span>
#include <string_view>
#include <type_traits>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow {

/// A batch that an operation reads. The first batch of a call decides the storage type T of the others.
template <class T>
using input_batch = std::type_identity_t<batch_view<const T>>;

/// A batch that an operation writes.
template <class T>
using output_batch = std::type_identity_t<batch_view<T>>;

namespace detail {

template <class T>
void check_per_row(std::string_view operation, std::string_view name, const per_row<T>& values,
                   index_t rows) {
  if (!values.covers(rows)) {
    throw shape_error(message(operation, ": ", name, " has ", values.size(), " entries, expected ", rows,
                              " (or one for all rows)"));
  }
}

/// Coefficients must be finite; with `needs_density`, every step must draw noise.
inline void check_transitions(std::string_view operation, const per_row<transition>& steps, index_t rows,
                              bool needs_density) {
  check_per_row(operation, "transitions", steps, rows);
  for (index_t i = 0; i < rows; ++i) {
    const transition& step = steps[i];
    if (!is_finite(step.alpha) || !is_finite(step.beta) || !is_finite(step.std) || step.std < 0) {
      throw schedule_error(message(operation, ": transition of row ", i, " has alpha = ", step.alpha,
                                   ", beta = ", step.beta, ", std = ", step.std));
    }
    if (needs_density && step.std == 0) {
      throw schedule_error(message(operation, ": the transition of row ", i, " (sigma ", step.sigma, " to ",
                                   step.sigma_next, ") has std = 0: a deterministic step has no log-prob"));
    }
  }
}

inline void check_finite(std::string_view operation, std::string_view name, const per_row<double>& values,
                         index_t rows) {
  check_per_row(operation, name, values, rows);
  for (index_t i = 0; i < rows; ++i) {
    if (!is_finite(values[i])) throw value_error(message(operation, ": ", name, "[", i, "] = ", values[i]));
  }
}

/// Sampling scores what it wrote against what it read: they must not be the same memory.
template <class T>
void check_not_in_place(std::string_view operation, const batch_view<const T>& x,
                        const batch_view<const T>& v, const batch_view<T>& y) {
  if (!y.empty() && (y.data() == x.data() || y.data() == v.data())) {
    throw shape_error(
        message(operation, ": the next state must not be written over the state or the velocity"));
  }
}

}  // namespace detail
}  // namespace tempflow
