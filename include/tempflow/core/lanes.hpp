// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The few operations that random numbers are made of, for one value and for several side by side in a vector
// register. A function template over these computes one element on any device, or a register of them, with
// the same bits.

#include <cmath>
#include <cstdint>

#include "tempflow/config.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/x86_lanes.hpp"

namespace tempflow::detail {

/// Width values of type T in a register; defined where compilers have such types (core/x86_lanes.hpp).
template <class T, int Width>
struct lanes;

/// The product of the low 32 bits of both.
TEMPFLOW_INLINE constexpr std::uint64_t multiply_low_halves(std::uint64_t a, std::uint64_t b) {
  return (a & 0xffffffffu) * (b & 0xffffffffu);
}

/// A word's bits as a float, and a float's as a word.
TEMPFLOW_INLINE float as_float(std::uint32_t word) { return bit_cast<float>(word); }
TEMPFLOW_INLINE std::uint32_t as_word(float real) { return bit_cast<std::uint32_t>(real); }

/// The word, read as a signed integer, as a float.
TEMPFLOW_INLINE float signed_to_float(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>(word));
}

/// The word, read as a signed integer, shifted right.
TEMPFLOW_INLINE std::uint32_t signed_shift_right(std::uint32_t word, int bits) {
  return static_cast<std::uint32_t>(static_cast<std::int32_t>(word) >> bits);
}

TEMPFLOW_INLINE float square_root(float a) { return std::sqrt(a); }

/// a where the word is not 0, else b.
TEMPFLOW_INLINE float select(std::uint32_t word, float a, float b) { return word != 0 ? a : b; }

/// a where the word is above the limit, else b. Words and limit below 2^31.
TEMPFLOW_INLINE constexpr std::uint32_t select_above(std::uint32_t word, std::uint32_t limit, std::uint32_t a,
                                                     std::uint32_t b) {
  return word > limit ? a : b;
}

}  // namespace tempflow::detail
