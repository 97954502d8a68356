// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The few operations that random numbers are made of, for one value and for several side by side in a vector
// register. A function template over these computes one element on any device, or a register of them, with
// the same bits.

#include <cstdint>

#include "tempflow/config.hpp"
#include "tempflow/core/device_lanes.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/x86_lanes.hpp"

namespace tempflow::detail {

/// Width values of type T in a register; defined where compilers have such types (core/x86_lanes.hpp).
template <class T, int Width>
struct lanes;

/// A product of two words: 64 bits in two words, or in lanes whose low halves are the words. Not a masked
/// product of 64 bits for both: CUDA compilers add a zero to each of those.
template <class Word>
struct word_product {
  Word high, low;
};
TEMPFLOW_INLINE constexpr word_product<std::uint32_t> multiply_words(std::uint32_t a, std::uint32_t b) {
  const std::uint64_t product = std::uint64_t{a} * b;
  return {static_cast<std::uint32_t>(product >> 32), static_cast<std::uint32_t>(product)};
}
template <int Width>
TEMPFLOW_INLINE_HOST word_product<lanes<std::uint64_t, Width>> multiply_words(
    const lanes<std::uint64_t, Width>& a, std::uint32_t b) {
  const lanes<std::uint64_t, Width> product = multiply_low_halves(a, b);
  return {product >> 32, product};
}

/// A word's bits as a float, and a float's as a word.
TEMPFLOW_INLINE float as_float(std::uint32_t word) { return bit_cast<float>(word); }
TEMPFLOW_INLINE std::uint32_t as_word(float real) { return bit_cast<std::uint32_t>(real); }

/// The word, read as a signed integer, as a float.
TEMPFLOW_INLINE float signed_to_float(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>(word));
}

/// The word shifted right by one, its lowest bit set, as a float.
template <int Width>
TEMPFLOW_INLINE_HOST lanes<float, Width> odd_half_to_float(const lanes<std::uint32_t, Width>& words) {
  return signed_to_float((words >> 1) | 1u);
}

/// The opposite sign, of zeros too.
TEMPFLOW_INLINE float negated(float a) { return -a; }
template <int Width>
TEMPFLOW_INLINE_HOST lanes<float, Width> negated(const lanes<float, Width>& a) {
  return as_float(as_word(a) ^ 0x80000000u);
}

/// The number without its sign.
TEMPFLOW_INLINE float magnitude(float a) { return bit_cast<float>(bit_cast<std::uint32_t>(a) & 0x7fffffffu); }
TEMPFLOW_INLINE double magnitude(double a) {
  return bit_cast<double>(bit_cast<std::uint64_t>(a) & 0x7fffffffffffffffu);
}
template <int Width>
TEMPFLOW_INLINE_HOST lanes<float, Width> magnitude(const lanes<float, Width>& a) {
  return as_float(as_word(a) & 0x7fffffffu);
}

/// a where the word is not 0, else b.
TEMPFLOW_INLINE float select(std::uint32_t word, float a, float b) { return word != 0 ? a : b; }
TEMPFLOW_INLINE double select(std::uint32_t word, double a, double b) { return word != 0 ? a : b; }

/// a where the word is above the limit, else b. Words and limit below 2^31.
TEMPFLOW_INLINE constexpr std::uint32_t select_above(std::uint32_t word, std::uint32_t limit, std::uint32_t a,
                                                     std::uint32_t b) {
  return word > limit ? a : b;
}

}  // namespace tempflow::detail
