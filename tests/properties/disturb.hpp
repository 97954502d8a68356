// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Extreme values in place of some numbers of a case.

#include <cmath>
#include <vector>

#include "properties/draw.hpp"
#include "tempflow/core/numeric.hpp"

namespace properties {

using tempflow::not_a_number;
using tempflow::positive_infinity;

/// A number that arithmetic has trouble with; finite: none that is not one.
inline double extreme(draw& source, bool finite) {
  const double size = source.one_of({0.0,
                                     5e-324,
                                     1e-310,
                                     1e-300,
                                     1e-46,
                                     1e-45,
                                     1e-38,
                                     1e-30,
                                     1e-8,
                                     1.0,
                                     6e4,
                                     1e15,
                                     1e19,
                                     1e30,
                                     3.4e38,
                                     1e39,
                                     1e150,
                                     1e300,
                                     1.7e308,
                                     finite ? 2.0 : positive_infinity,
                                     finite ? 3.0 : not_a_number});
  return source.once_in(2) ? size : -size;
}

/// Some elements of a batch replaced.
template <class T>
void disturb(draw& source, batch_buffer<T>& batch) {
  if (batch.rows() == 0 || source.once_in(2)) return;
  for (index_t n = source.between(1, 4); n > 0; --n) {
    T& element =
        batch.view().row(source.between(0, batch.rows() - 1))[source.between(0, batch.columns() - 1)];
    element = tempflow::store<T>(extreme(source, false));
  }
}

inline void disturb(draw& source, std::vector<double>& numbers, bool positive) {
  if (source.once_in(2)) return;
  for (double& number : numbers) {
    if (source.once_in(3)) number = positive ? std::abs(extreme(source, true)) : extreme(source, true);
  }
}

inline void disturb(draw& source, std::vector<transition>& steps) {
  if (source.once_in(2)) return;
  for (transition& step : steps) {
    if (source.once_in(3)) step.alpha = extreme(source, true);
    if (source.once_in(3)) step.beta = extreme(source, true);
    if (source.once_in(3))
      step.std = source.one_of({1e-30, 1e-22, 1e-10, 1e10, 1e30, std::abs(extreme(source, true))});
    if (source.once_in(3)) step.diffusion = std::abs(extreme(source, true));
  }
}

}  // namespace properties
