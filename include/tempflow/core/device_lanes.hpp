// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The operations of core/lanes.hpp that cost a CUDA device more than they should in plain C++: each in its
// instructions, and in plain C++ for everybody else, with the same bits. The only functions of the library
// whose bodies differ between host and device.

#include <cmath>
#include <cstdint>

#include "tempflow/config.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow::detail {

/// The square root of a from an approximation of 1 / sqrt(a), by a step of Newton's: with the device's own
/// approximation, what its compiler makes of a square root that is rounded to nearest, hence those bits.
TEMPFLOW_INLINE float square_root_from(float a, float reciprocal) {
  const float root = a * reciprocal;
  return fused_multiply_add(fused_multiply_add(-root, root, a), 0.5f * reciprocal, root);
}

#if defined(__CUDA_ARCH__)

/// The square root of 0, or of a number from 2^-76 on. The compiler's own would also take smaller ones, at
/// the cost of a branch around which nothing is scheduled, and under --use_fast_math it has other bits.
TEMPFLOW_INLINE float square_root(float a) {
  float reciprocal;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(reciprocal) : "f"(a + 0x1p-100f));  // of 0: finite
  return square_root_from(a, reciprocal);
}

/// The word shifted right by one, its lowest bit set, as a float. Not shifted: twice as much as a float.
TEMPFLOW_INLINE float odd_half_to_float(std::uint32_t word) {
  std::uint32_t twice;  // (word & ~3) | 2, in one instruction
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(twice) : "r"(word), "r"(~3u), "r"(2u));
  return bit_cast<float>(bit_cast<std::uint32_t>(static_cast<float>(twice)) - (1u << 23));
}

#else

TEMPFLOW_INLINE float square_root(float a) { return std::sqrt(a); }

TEMPFLOW_INLINE float odd_half_to_float(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>((word >> 1) | 1u));
}

#endif

}  // namespace tempflow::detail
