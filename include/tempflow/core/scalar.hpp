// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Storage scalars: what tensors are kept in. Arithmetic never happens in the 16-bit types; it happens in
// compute_t<T>, and a result is rounded to nearest even when it is stored.

#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/lanes.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// bfloat16: the upper half of an IEEE float (8 exponent bits, 7 fraction bits). Same layout as every other
/// bf16.
struct bfloat16 {
  std::uint16_t bits = 0;

  friend constexpr bool operator==(bfloat16, bfloat16) = default;
};

/// IEEE half precision (5 exponent bits, 10 fraction bits, largest finite value 65504).
struct float16 {
  std::uint16_t bits = 0;

  friend constexpr bool operator==(float16, float16) = default;
};

/// The element types that tensors may be stored in.
template <class T>
concept storage_scalar = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, bfloat16> ||
    std::same_as<T, float16>;

namespace detail {

template <class T>
struct compute_type {
  using type = float;
};
template <>
struct compute_type<double> {
  using type = double;
};

}  // namespace detail

/// What elements of type T are computed in: float, or double for double.
template <storage_scalar T>
using compute_t = typename detail::compute_type<T>::type;

/// Storage types that may meet in an operation, for states and velocities: fp32, bf16 and fp16 in any mixture; double
/// with itself.
template <class V, class T>
concept computes_with = storage_scalar<V> && storage_scalar<T> && std::same_as<compute_t<V>, compute_t<T>>;

/// What gradients with respect to elements of type T are best kept in: T, but fp32 for fp16, whose smallest number,
/// 6e-8, is more than most of a mean loss's gradients.
template <storage_scalar T>
using gradient_t = std::conditional_t<std::same_as<T, float16>, float, T>;

/// The exact value of a stored element.
TEMPFLOW_HD constexpr float load(float value) { return value; }
TEMPFLOW_HD constexpr double load(double value) { return value; }
TEMPFLOW_HD constexpr float load(bfloat16 value) {
  return bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}
TEMPFLOW_HD constexpr float load(float16 value) {
  // Both cases of a choice are computed, without a branch, so that compilers can vectorise it.
  constexpr std::uint32_t rebias = 112u << 23, half = 1u << 23, infinity = 31u << 23;
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
  const std::uint32_t shifted = static_cast<std::uint32_t>(value.bits & 0x7fffu) << 13;
  const float subnormal = bit_cast<float>(shifted + rebias + half) - bit_cast<float>(rebias + half);
  const std::uint32_t normal = shifted + (shifted < infinity ? rebias : 2 * rebias);
  return bit_cast<float>(sign | (shifted < half ? bit_cast<std::uint32_t>(subnormal) : normal));
}

namespace detail {

/// The nearest bf16 to a float's bits, in the upper half of a word; the lower half means nothing. Word:
/// std::uint32_t, or lanes of it.
TEMPFLOW_HD_TEMPLATE
template <class Word>
TEMPFLOW_INLINE constexpr Word rounded_to_upper_half(const Word& bits) {
  const Word magnitude = bits & 0x7fffffffu;
  const Word quiet = bits | 0x400000u;  // of a NaN
  return select_above(magnitude, 0x7f800000u, quiet, Word(bits + 0x7fffu + ((bits >> 16) & 1u)));
}

TEMPFLOW_HD constexpr bfloat16 to_bfloat16(float value) {
  return {static_cast<std::uint16_t>(rounded_to_upper_half(bit_cast<std::uint32_t>(value)) >> 16)};
}

TEMPFLOW_HD constexpr float16 to_float16(float value) {
  const auto bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  // Below 2^-14 an addition rounds to multiples of 2^-24.
  const std::uint32_t subnormal = bit_cast<std::uint32_t>(bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const std::uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const std::uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  // A NaN keeps what fits of its payload, as processors do it; what is too large becomes infinite.
  const std::uint32_t quiet = 0x7e00u | ((magnitude >> 13) & 0x1ffu);
  const std::uint32_t special = magnitude > 0x7f800000u ? quiet : 0x7c00u;
  return {static_cast<std::uint16_t>(sign | (magnitude < 0x477ff000u ? finite : special))};
}

/// Narrows to fp32, inexact results to an odd last bit: rounding on to 16 bits then lands where one rounding
/// would.
TEMPFLOW_HD constexpr float narrow_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  const auto bits = bit_cast<std::uint32_t>(nearest);
  if (static_cast<double>(nearest) == value || (bits & 1u) != 0) return nearest;
  const bool short_of_it = (static_cast<double>(nearest) < value) == (value > 0);
  return bit_cast<float>(short_of_it ? bits + 1 : bits - 1);
}

}  // namespace detail

/// Rounds a computed value to the nearest storable one, ties to even.
template <storage_scalar T>
TEMPFLOW_HD constexpr T store(double value) {
  if constexpr (std::same_as<T, double>) {
    return value;
  } else if constexpr (std::same_as<T, bfloat16>) {
    return detail::to_bfloat16(detail::narrow_to_odd(value));
  } else if constexpr (std::same_as<T, float16>) {
    return detail::to_float16(detail::narrow_to_odd(value));
  } else {
    return static_cast<float>(value);
  }
}
template <storage_scalar T>
TEMPFLOW_HD constexpr T store(float value) {
  if constexpr (std::same_as<T, bfloat16>) {
    return detail::to_bfloat16(value);
  } else if constexpr (std::same_as<T, float16>) {
    return detail::to_float16(value);
  } else {
    return value;
  }
}

namespace detail {

/// The smallest positive number of a storage type.
template <storage_scalar T>
constexpr double smallest_stored() {
  if constexpr (std::same_as<T, bfloat16>) {
    return 0x1p-133;
  } else if constexpr (std::same_as<T, float16>) {
    return 0x1p-24;
  } else {
    return static_cast<double>(std::numeric_limits<T>::denorm_min());
  }
}

/// The largest squared norm of a row's part in a gradient that is stored as G, of rows stored as T: the parts of 65,536
/// rows, the most that leave a state, are numbers of G when they are added up.
template <storage_scalar T, storage_scalar G>
constexpr double max_squared() {
  return std::same_as<T, double> && std::same_as<G, double> ? 0x1p1000 : 0x1p220;
}

}  // namespace detail
}  // namespace tempflow
