// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A sum whose bits do not depend on the order of its terms, on any host and device: one of integers.

#include <cstddef>
#include <cstdint>

#include "tempflow/config.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow::detail {

/// The least e with x < 2^e, for x >= 0 that are finite and not subnormal.
TEMPFLOW_HD constexpr int exponent_above(double x) {
  return static_cast<int>(bit_cast<std::uint64_t>(x) >> 52) - 1022;
}

/// 2^e, for -1022 <= e <= 1023.
TEMPFLOW_HD constexpr double power_of_two(int e) {
  return bit_cast<double>(static_cast<std::uint64_t>(e + 1023) << 52);
}

/// Sums up to `count` terms within [0, most], most finite.
///
/// A term is cut to a multiple of 2^-m of the power of two above `most`, m = 124 - 2 ceil(log2(count + 1)), so 114 for
/// 24 terms: as two integers, which add up without rounding. Only the sum is rounded. (Below 2^-900, about 1e-271,
/// terms are cut as if `most` were that.) Derivation: docs/maths.md, 5.1.
class order_free_sum {
 public:
  TEMPFLOW_HD order_free_sum(double most, std::size_t count)
      : room_(62 - exponent_above(static_cast<double>(count))) {
    constexpr int least = -900;  // the scale of less would overflow
    const int exponent = exponent_above(most);
    shift_ = room_ - (exponent > least ? exponent : least);
  }

  TEMPFLOW_HD void add(double term) {
    const double scaled = term * power_of_two(shift_);
    const auto whole = static_cast<std::int64_t>(scaled);
    whole_ += whole;
    part_ += static_cast<std::int64_t>((scaled - static_cast<double>(whole)) * power_of_two(room_));
  }

  TEMPFLOW_HD double value() const {
    const double part = static_cast<double>(part_) * power_of_two(-room_);
    return (static_cast<double>(whole_) + part) * power_of_two(-shift_);
  }

 private:
  int room_, shift_;
  std::int64_t whole_ = 0, part_ = 0;
};

}  // namespace tempflow::detail
