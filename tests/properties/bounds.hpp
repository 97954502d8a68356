// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How far numbers that are computed in fp32 (fp64 for double) may be from the exact ones: from the roundings on their
// way, those of subnormal numbers included, and with the overflow of fp32 taken into account.

#include <algorithm>
#include <cmath>

#include "support/batches.hpp"
#include "tempflow/core/scalar.hpp"
#include "tempflow/schedule/transition.hpp"

namespace properties {

/// Of the type that elements stored as T are computed in: half of the distance of neighbours, relative to a normal
/// number, and of subnormal ones, rounded up.
template <class T>
inline constexpr double unit = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;
template <class T>
inline constexpr double least = std::is_same_v<T, double> ? 0x1p-1074 : 0x1p-149;

/// Beyond it what is computed for elements stored as T may be infinite.
template <class T>
inline constexpr double overflowing = std::is_same_v<T, double> ? 1e307 : 3.3e38;

/// What rounding a number to T may move it by.
template <class T>
double storage_rounding(double number) {
  const double size = std::abs(number);
  if constexpr (std::is_same_v<T, tempflow::bfloat16>) return (std::max)(size * 0x1p-8, 0x1p-134);
  if constexpr (std::is_same_v<T, tempflow::float16>) return (std::max)(size * 0x1p-11, 0x1p-25);
  return (std::max)(size * unit<T>, least<T>);
}

/// From here on a number may be stored as infinite.
template <class T>
constexpr double largest_stored() {
  if constexpr (std::is_same_v<T, tempflow::float16>) return 65504;
  return std::is_same_v<T, double> ? 1.79e308 : std::is_same_v<T, float> ? 3.4e38 : 3.38e38;
}

/// A number, how far its computed value may be from it, and the largest number that was met on the way.
struct bounded {
  double value = 0, error = 0, largest = 0;
};

/// alpha x + beta v + std z and y - alpha x - beta v in the compute type of T: coefficients rounded, a product and
/// fused multiply-adds.
template <class T>
bounded affine(double constant, double alpha, double x, double beta, double v, double std = 0, double z = 0) {
  const double ax = alpha * x, bv = beta * v, sz = std * z;
  const double value = constant + ax + bv + sz;
  const double partial = std::abs(constant) + std::abs(ax) + std::abs(bv) + std::abs(sz);
  // Each coefficient is rounded, and at most three sums no larger than `partial`; in double so is `value`.
  const double error = 1.01 * ((std::is_same_v<T, double> ? 9 : 5) * unit<T> * partial +
                               least<T> * (std::abs(x) + std::abs(v) + std::abs(z) + 4));
  return {value, error, partial};
}

template <class T>
bounded residual(const tempflow::transition& step, double x, double v, double y) {
  return affine<T>(y, -step.alpha, x, -step.beta, v);
}

template <class T>
bounded difference(double a, double b) {
  return {a - b, unit<T> * std::abs(a - b), std::abs(a) + std::abs(b)};
}

/// A sum over a row of products of two numbers, in tiles: what tiled_arithmetic promises for terms of one sign, of
/// their sizes.
template <class T>
class product_sum {
 public:
  void add(const bounded& a, const bounded& b) {
    const double size = std::abs(a.value * b.value);
    value_ += a.value * b.value;
    sizes_ += size;
    error_ += std::abs(a.value) * b.error + std::abs(b.value) * a.error + a.error * b.error + least<T>;
    largest_ = (std::max)({largest_, a.largest, b.largest});
    ++count_;
  }

  double value() const { return value_; }
  double error() const {
    const double tiled = 44 + static_cast<double>(count_) / 32768, sizes = sizes_ + error_;
    // And the reference's own, one double after another.
    return error_ + (tiled * unit<T> + 2 * static_cast<double>(count_) * 0x1p-53) * sizes;
  }
  bool may_overflow() const { return !((std::max)(largest_, sizes_ + error_) < overflowing<T>); }

  /// Whether a computed number is this sum.
  bool is(double computed) const {
    if (may_overflow()) return true;
    return std::abs(computed - value()) <= error();
  }

 private:
  double value_ = 0, sizes_ = 0, error_ = 0, largest_ = 0;
  tempflow::index_t count_ = 0;
};

/// Whether an element stored as G is a number that was computed within `of.error`; infinite ones where they may be.
template <class G, class T>
bool is_stored(G stored, const bounded& of) {
  const double found = support::value_of(stored), beyond = std::abs(of.value) + of.error;
  if (of.largest >= overflowing<T> || beyond >= largest_stored<G>() * (1 - 0x1p-9)) return true;
  return std::abs(found - of.value) <= of.error + 1.01 * storage_rounding<G>(beyond);
}

}  // namespace properties
