// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Small numerics that must give the same bits on every host and device.

#include <cmath>
#include <cstdint>
#include <limits>

#include "tempflow/config.hpp"

namespace tempflow {

/// The bits of a value as another type of the same size; std::bit_cast, for host and device.
template <class To, class From>
TEMPFLOW_HD constexpr To bit_cast(const From& value) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, value);
}

/// a * b + c, rounded once. Written out wherever bits matter, so that no compiler flag decides on
/// contraction.
TEMPFLOW_HD inline float fused_multiply_add(float a, float b, float c) { return std::fma(a, b, c); }
TEMPFLOW_HD inline double fused_multiply_add(double a, double b, double c) { return std::fma(a, b, c); }

/// A NaN and an infinity, for host and device.
inline constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
inline constexpr double positive_infinity = std::numeric_limits<double>::infinity();

/// True for the same number with the same sign of zero.
TEMPFLOW_HD constexpr bool same_bits(double a, double b) {
  return bit_cast<std::uint64_t>(a) == bit_cast<std::uint64_t>(b);
}

/// True for numbers that are neither infinite nor NaN; reads the bits, so it also holds under -ffast-math.
TEMPFLOW_HD constexpr bool is_finite(double value) {
  return (bit_cast<std::uint64_t>(value) & 0x7ff0000000000000ull) != 0x7ff0000000000000ull;
}
TEMPFLOW_HD constexpr bool is_finite(float value) {
  return (bit_cast<std::uint32_t>(value) & 0x7f800000u) != 0x7f800000u;
}

}  // namespace tempflow
