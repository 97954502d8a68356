// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Standard normals from random words by Box-Muller, with polynomials of our own: the same bits on every
// compiler, standard library and device.
//
//   z0 = sqrt(-2 ln u) cos(2 pi t),   z1 = sqrt(-2 ln u) sin(2 pi t),   u in (0, 1], t in [0, 1)
//
// u is an odd multiple of 2^-31, rounded to fp32, hence |z| <= 6.56; t is a multiple of 2^-32. A normal is
// within 1.5e-6 of exact arithmetic on the same u and t.
// Polynomials: Cephes logf, sinf and cosf (Moshier), valid on the reduced ranges used here.

#include <cstdint>

#include "tempflow/core/lanes.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/philox.hpp"

namespace tempflow {

/// Two independent standard normals.
struct normal_pair {
  float first;
  float second;
};

/// Four independent standard normals.
struct normal_quad {
  float value[4];
};

namespace detail {

/// -2 ln u for the u in (0, 1] that a word stands for. Word: std::uint32_t, or lanes of it.
TEMPFLOW_HD_TEMPLATE
template <class Word>
TEMPFLOW_INLINE auto squared_radius(const Word& word) {
  using real = decltype(as_float(word));
  constexpr std::uint32_t sqrt_half = 0x3f3504f3u, exponent_31 = 31u << 23;  // fields of floats
  // u = m 2^e with m in [sqrt(1/2), sqrt(2)): the offset makes the exponent field roll over at sqrt(1/2).
  const Word offset = as_word(signed_to_float((word >> 1) | 1u)) - (exponent_31 + sqrt_half);
  const real exponent = signed_to_float(signed_shift_right(offset, 23));
  const real f = as_float((offset & 0x007fffffu) + sqrt_half) - 1.0f;
  real p = 7.0376836292e-2f;
  p = fused_multiply_add(p, f, -1.1514610310e-1f);
  p = fused_multiply_add(p, f, 1.1676998740e-1f);
  p = fused_multiply_add(p, f, -1.2420140846e-1f);
  p = fused_multiply_add(p, f, 1.4249322787e-1f);
  p = fused_multiply_add(p, f, -1.6668057665e-1f);
  p = fused_multiply_add(p, f, 2.0000714765e-1f);
  p = fused_multiply_add(p, f, -2.4999993993e-1f);
  p = fused_multiply_add(p, f, 3.3333331174e-1f);
  const real square = f * f;
  real log = p * f * square;
  log = fused_multiply_add(exponent, -2.12194440e-4f, log);  // ln 2 in two parts
  log = fused_multiply_add(-0.5f, square, log);
  log = log + f;  // no product is added anywhere: a compiler has nothing to contract
  log = fused_multiply_add(exponent, 0.693359375f, log);
  return real(log * -2.0f);
}

/// cos and sin of 2 pi bits / 2^32: the top bits choose the quadrant, the rest an angle in [-pi/4, pi/4).
TEMPFLOW_HD_TEMPLATE
template <class Word, class Real>
TEMPFLOW_INLINE void unit_circle(const Word& bits, Real& x, Real& y) {
  const Word turned = bits + 0x20000000u;  // rounds to the nearest quadrant: bits 30 and 31
  const Real angle =
      signed_to_float((turned & 0x3fffffffu) - 0x20000000u) * (1.57079632679489661923f * 0x1p-30f);
  const Real square = angle * angle;
  Real s = -1.9515295891e-4f;
  s = fused_multiply_add(s, square, 8.3321608736e-3f);
  s = fused_multiply_add(s, square, -1.6666654611e-1f);
  const Real sine = fused_multiply_add(s * square, angle, angle);
  Real c = 2.443315711809948e-5f;
  c = fused_multiply_add(c, square, -1.388731625493765e-3f);
  c = fused_multiply_add(c, square, 4.166664568298827e-2f);
  const Real cosine = fused_multiply_add(c * square, square, fused_multiply_add(-0.5f, square, 1.0f));
  const Word odd = turned & 0x40000000u;
  const Word x_sign = (turned + 0x40000000u) & 0x80000000u, y_sign = turned & 0x80000000u;
  x = as_float(as_word(select(odd, sine, cosine)) ^ x_sign);
  y = as_float(as_word(select(odd, cosine, sine)) ^ y_sign);
}

/// Two normals from two uniform words.
TEMPFLOW_HD_TEMPLATE
template <class Word, class Real>
TEMPFLOW_INLINE void box_muller(const Word& radius_word, const Word& angle_word, Real& first, Real& second) {
  const Real radius = square_root(squared_radius(radius_word));
  unit_circle(angle_word, first, second);
  first = first * radius;
  second = second * radius;
}

}  // namespace detail

/// Two normals from two uniform words.
TEMPFLOW_HD inline normal_pair box_muller(std::uint32_t radius_word, std::uint32_t angle_word) {
  normal_pair normals;
  detail::box_muller(radius_word, angle_word, normals.first, normals.second);
  return normals;
}

/// Four normals from one Philox output: words (0, 1) give normals 0 and 1, words (2, 3) give 2 and 3.
TEMPFLOW_HD inline normal_quad box_muller(philox_words bits) {
  const normal_pair a = box_muller(bits.word[0], bits.word[1]);
  const normal_pair b = box_muller(bits.word[2], bits.word[3]);
  return {{a.first, a.second, b.first, b.second}};
}

}  // namespace tempflow
