// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the numbers of a batch look like.

#include <algorithm>
#include <cmath>
#include <span>

#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// Mean, std and extremes of all elements of a batch together. With a number that is not finite among them, mean
/// and std are not either.
struct batch_moments {
  double mean = 0;
  double std = 0;  ///< over the number of elements
  double min = 0;
  double max = 0;

  bool finite() const { return is_finite(mean) && is_finite(std); }
};

/// Moments of numbers, in two passes. Of none: zeros.
inline batch_moments moments_of(std::span<const double> values) {
  if (values.empty()) return {};
  const auto count = static_cast<double>(values.size());
  batch_moments found{.min = values[0], .max = values[0]};
  for (const double value : values) {
    found.mean += value / count;
    found.min = (std::min)(found.min, value);
    found.max = (std::max)(found.max, value);
  }
  for (const double value : values) found.std += (value - found.mean) * (value - found.mean) / count;
  found.std = std::sqrt(found.std);
  return found;
}

}  // namespace tempflow
