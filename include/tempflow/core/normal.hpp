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

// Half the radius and twice the circle: halves and doubles are exact, and the factor 2 of -2 ln u costs
// nothing.

/// -1/2 ln u, the square of half a radius, for the u in (0, 1] that a word stands for. Word: std::uint32_t,
/// or lanes of it.
TEMPFLOW_HD_TEMPLATE
template <class Word>
TEMPFLOW_INLINE auto squared_half_radius(const Word& word) {
  using real = decltype(as_float(word));
  constexpr std::uint32_t sqrt_half = 0x3f3504f3u, exponent_31 = 31u << 23;  // fields of floats
  constexpr float half = 0.5f;
  // u = m 2^e with m in [sqrt(1/2), sqrt(2)): the offset makes the exponent field roll over at sqrt(1/2).
  const Word bits = as_word(odd_half_to_float(word));
  const Word field = (bits - (exponent_31 + sqrt_half)) & 0xff800000u;
  const real exponent = signed_to_float(field);  // 2^23 e
  const real f = as_float(bits - exponent_31 - field) - 1.0f;
  real p = half * 7.0376836292e-2f;
  p = fused_multiply_add(p, f, half * -1.1514610310e-1f);
  p = fused_multiply_add(p, f, half * 1.1676998740e-1f);
  p = fused_multiply_add(p, f, half * -1.2420140846e-1f);
  p = fused_multiply_add(p, f, half * 1.4249322787e-1f);
  p = fused_multiply_add(p, f, half * -1.6668057665e-1f);
  p = fused_multiply_add(p, f, half * 2.0000714765e-1f);
  p = fused_multiply_add(p, f, half * -2.4999993993e-1f);
  p = fused_multiply_add(p, f, half * 3.3333331174e-1f);
  const real square = f * f;
  real log = p * f * square;
  log = fused_multiply_add(exponent, half * -2.12194440e-4f * 0x1p-23f, log);  // ln 2 in two parts
  log = fused_multiply_add(half * -0.5f, square, log);
  log = fused_multiply_add(half, f, log);  // no product is added anywhere: a compiler has nothing to contract
  log = fused_multiply_add(exponent, half * 0.693359375f * 0x1p-23f, log);
  return negated(log);
}

/// 2 cos and 2 sin of the angle in [-pi/4, pi/4) that is left of a word's turn when whole quadrants are taken
/// out.
TEMPFLOW_HD_TEMPLATE
template <class Word, class Real>
TEMPFLOW_INLINE void doubled_circle(const Word& word, Real& cosine, Real& sine) {
  const Real twice = signed_to_float(word << 2) * (1.57079632679489661923f * 0x1p-31f);  // the angle
  const Real square = twice * twice;  // 4 times the angle's: hence the powers of 4 below
  Real s = -1.9515295891e-4f * 0x1p-6f;
  s = fused_multiply_add(s, square, 8.3321608736e-3f * 0x1p-4f);
  s = fused_multiply_add(s, square, -1.6666654611e-1f * 0x1p-2f);
  sine = fused_multiply_add(s * square, twice, twice);
  Real c = 2.443315711809948e-5f * 0x1p-7f;
  c = fused_multiply_add(c, square, -1.388731625493765e-3f * 0x1p-5f);
  c = fused_multiply_add(c, square, 4.166664568298827e-2f * 0x1p-3f);
  cosine = fused_multiply_add(c * square, square, fused_multiply_add(-0.25f, square, 2.0f));
}

/// Two normals from two uniform words.
TEMPFLOW_HD_TEMPLATE
template <class Word, class Real>
TEMPFLOW_INLINE void box_muller(const Word& radius_word, const Word& angle_word, Real& first, Real& second) {
  Real cosine, sine;
  doubled_circle(angle_word, cosine, sine);
  // The nearest quadrant is bits 30 and 31: (cos, sin), (-sin, cos), and the same with the opposite sign.
  const Word quadrant = angle_word + 0x20000000u;
  const Word odd = quadrant & 0x40000000u, sign = quadrant & 0x80000000u;
  const Real half_radius = as_float(as_word(square_root(squared_half_radius(radius_word))) ^ sign);
  first = select(odd, negated(sine), cosine) * half_radius;
  second = select(odd, cosine, sine) * half_radius;
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
