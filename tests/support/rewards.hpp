// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rewards of samples, and their moments as in a textbook.

#include <cmath>
#include <cstdint>
#include <vector>

namespace support {

using rewards = std::vector<double>;
using ids = std::vector<std::int64_t>;  ///< the group of each sample

struct mean_and_std {
  double mean, std;
};

/// ddof: 0 for the population's std, 1 for the sample's.
template <class Values>
mean_and_std moments_of(const Values& values, double ddof = 0) {
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double n = static_cast<double>(values.size()), mean = sum / n;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / (n - ddof))};
}

}  // namespace support
