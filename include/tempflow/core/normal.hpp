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

#include <cmath>
#include <cstdint>

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

/// -2 ln u for the u in (0, 1] that a word stands for.
TEMPFLOW_HD inline float squared_radius(std::uint32_t word) {
  const std::uint32_t bits = (word >> 1) | 1u;
  const auto u = static_cast<float>(bits) * 0x1p-31f;
  // u = m 2^e with m in [sqrt(1/2), sqrt(2)): the offset makes the exponent field roll over at sqrt(1/2).
  const auto raw = bit_cast<std::uint32_t>(u) - 0x3f3504f3u;
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(raw) >> 23);
  const auto f = bit_cast<float>((raw & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  float p = 7.0376836292e-2f;
  p = fused_multiply_add(p, f, -1.1514610310e-1f);
  p = fused_multiply_add(p, f, 1.1676998740e-1f);
  p = fused_multiply_add(p, f, -1.2420140846e-1f);
  p = fused_multiply_add(p, f, 1.4249322787e-1f);
  p = fused_multiply_add(p, f, -1.6668057665e-1f);
  p = fused_multiply_add(p, f, 2.0000714765e-1f);
  p = fused_multiply_add(p, f, -2.4999993993e-1f);
  p = fused_multiply_add(p, f, 3.3333331174e-1f);
  const float square = f * f;
  float log = p * f * square;
  log = fused_multiply_add(exponent, -2.12194440e-4f, log);  // ln 2 in two parts
  log = fused_multiply_add(-0.5f, square, log);
  log += f;
  log = fused_multiply_add(exponent, 0.693359375f, log);
  return -2.0f * log;
}

/// cos and sin of 2 pi bits / 2^32: the top bits choose the quadrant, the rest an angle in [-pi/4, pi/4).
TEMPFLOW_HD inline normal_pair unit_circle(std::uint32_t bits) {
  const std::uint32_t shifted = bits + 0x20000000u;  // rounds to the nearest quadrant
  const std::uint32_t quadrant = shifted >> 30;
  const auto fraction = static_cast<std::int32_t>(shifted & 0x3fffffffu) - 0x20000000;
  const float angle = static_cast<float>(fraction) * (1.57079632679489661923f * 0x1p-30f);
  const float square = angle * angle;
  float s = -1.9515295891e-4f;
  s = fused_multiply_add(s, square, 8.3321608736e-3f);
  s = fused_multiply_add(s, square, -1.6666654611e-1f);
  const float sine = fused_multiply_add(s * square, angle, angle);
  float c = 2.443315711809948e-5f;
  c = fused_multiply_add(c, square, -1.388731625493765e-3f);
  c = fused_multiply_add(c, square, 4.166664568298827e-2f);
  const float cosine = fused_multiply_add(c * square, square, fused_multiply_add(-0.5f, square, 1.0f));
  const bool odd = (quadrant & 1u) != 0;
  const float x = odd ? sine : cosine;
  const float y = odd ? cosine : sine;
  return {quadrant == 1 || quadrant == 2 ? -x : x, quadrant >= 2 ? -y : y};
}

}  // namespace detail

/// Pairs of normals from pairs of uniform words, in loops that a compiler can vectorise.
template <int Pairs>
TEMPFLOW_HD inline void box_muller(const std::uint32_t (&radius_word)[Pairs],
                                   const std::uint32_t (&angle_word)[Pairs], float (&first)[Pairs],
                                   float (&second)[Pairs]) {
  float radius[Pairs];
  for (int i = 0; i < Pairs; ++i) radius[i] = detail::squared_radius(radius_word[i]);
  for (int i = 0; i < Pairs; ++i) radius[i] = std::sqrt(radius[i]);
  for (int i = 0; i < Pairs; ++i) {
    const normal_pair direction = detail::unit_circle(angle_word[i]);
    first[i] = direction.first;
    second[i] = direction.second;
  }
  for (int i = 0; i < Pairs; ++i) first[i] *= radius[i];
  for (int i = 0; i < Pairs; ++i) second[i] *= radius[i];
}

/// Two normals from two uniform words.
TEMPFLOW_HD inline normal_pair box_muller(std::uint32_t radius_word, std::uint32_t angle_word) {
  float first[1], second[1];
  box_muller({radius_word}, {angle_word}, first, second);
  return {first[0], second[0]};
}

/// Four normals from one Philox output: words (0, 1) give normals 0 and 1, words (2, 3) give 2 and 3.
TEMPFLOW_HD inline normal_quad box_muller(philox_words bits) {
  const normal_pair a = box_muller(bits.word[0], bits.word[1]);
  const normal_pair b = box_muller(bits.word[2], bits.word[3]);
  return {{a.first, a.second, b.first, b.second}};
}

}  // namespace tempflow
