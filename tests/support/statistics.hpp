// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Sample moments for tests on random numbers.

#include <cmath>
#include <cstddef>
#include <span>

namespace support {

/// Mean of samples and the standard error of that mean.
struct estimate {
  double mean;
  double standard_error;
};

inline estimate mean_of(std::span<const double> samples) {
  const auto count = static_cast<double>(samples.size());
  double mean = 0;
  for (const double sample : samples) mean += sample / count;
  double squares = 0;
  for (const double sample : samples) squares += (sample - mean) * (sample - mean);
  return {mean, std::sqrt(squares / (count - 1) / count)};
}

/// Correlation of two samples of mean 0 and variance 1 in units of its standard deviation under independence.
template <class T>
double correlation_z(std::span<const T> a, std::span<const T> b) {
  double products = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    products += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return products / std::sqrt(static_cast<double>(a.size()));
}

/// Distribution function of the standard normal.
inline double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

}  // namespace support
