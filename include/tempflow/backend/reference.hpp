// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The reference backend: serial, in double, one element after another. It is the oracle that every other
// backend is tested against, and stays naive for that reason.

#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {

/// Runs on the calling thread in plain double arithmetic. Slow, and as near to the formulas as code gets.
struct reference_backend {
  using arithmetic = plain_double_arithmetic;

  /// Calls body(0), body(1), ..., body(count - 1).
  template <class Body>
  void for_each_index(index_t count, const Body& body) const {
    for (index_t i = 0; i < count; ++i) body(i);
  }
};

}  // namespace tempflow
