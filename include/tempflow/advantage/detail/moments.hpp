// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Mean and standard deviation of rewards, with the same bits in any order, on any host and device.

#include <cmath>
#include <cstddef>

#include "tempflow/advantage/advantage_options.hpp"
#include "tempflow/advantage/detail/order_free_sum.hpp"
#include "tempflow/config.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow::detail {

struct reward_moments {
  std::size_t count = 0;  ///< rewards that they are taken of
  double mean = 0;
  double std = 0;
  bool constant = true;  ///< all equal, or their std below options.min_std: nothing to tell them apart by
};

/// Moments of reward(0), ..., reward(count - 1), or of those that are finite; exact where all are equal. NaN where one
/// that counts is not finite; an infinite std where the square of their range overflows.
TEMPFLOW_HD_TEMPLATE
template <class Reward>
TEMPFLOW_HD reward_moments moments(std::size_t count, const Reward& reward,
                                   const advantage_options& options) {
  std::size_t counted = 0;
  double lowest = 0, highest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double value = reward(i);
    if (!is_finite(value)) {
      if (options.not_finite == not_finite_rewards::exclude) continue;
      return {.count = count, .mean = not_a_number, .std = not_a_number, .constant = false};
    }
    if (counted == 0 || value < lowest) lowest = value;
    if (counted == 0 || value > highest) highest = value;
    ++counted;
  }
  const double range = highest - lowest;
  if (range == 0) return {.count = counted, .mean = lowest + 0.0};  // of zeros: +0.0
  if (!is_finite(range * range)) {
    return {.count = counted, .mean = lowest, .std = HUGE_VAL, .constant = false};
  }
  const auto n = static_cast<double>(counted);
  order_free_sum above(range, counted), squares(range * range, counted);
  for (std::size_t i = 0; i < count; ++i) {
    if (const double value = reward(i); is_finite(value)) above.add(value - lowest);
  }
  const double mean = lowest + above.value() / n;
  for (std::size_t i = 0; i < count; ++i) {
    if (const double value = reward(i); is_finite(value)) squares.add((value - mean) * (value - mean));
  }
  const double divisor = options.std == std_estimate::sample ? n - 1 : n;
  const double std = std::sqrt(squares.value() / divisor);
  return {.count = counted, .mean = mean, .std = std, .constant = std < options.min_std};
}

}  // namespace tempflow::detail
