// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How the text of a row reads and writes its elements. The text says what happens at one position, for any
// reader `at`: at(row) is the element of `row` there. Positions come in groups of 32, in the order that suits
// the storage type: one after another, or, for bf16, the lower halves of 16 words and then the upper ones,
// which costs no shuffle.

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/scalar.hpp"

namespace tempflow::detail {

/// Positions that are visited together.
inline constexpr int group = 32;

/// Reads element `index` of a row, as Real.
template <class Real>
struct element_at {
  index_t index;

  template <storage_scalar T>
  TEMPFLOW_INLINE Real operator()(const T* row) const {
    return Real{load(row[index])};
  }
};

/// Reads element `index` of a bf16 row: the lower (Upper = 0) or upper half of a 32-bit word.
template <int Upper>
struct half_of_word_at {
  index_t index;

  TEMPFLOW_INLINE float operator()(const bfloat16* row) const {
    std::uint32_t word;
    std::memcpy(&word, row + index - Upper, sizeof word);
    return bit_cast<float>(Upper != 0 ? word & 0xffff0000u : word << 16);
  }
};

/// Whether rows stored as Ts are visited in halves of words.
template <class Real, class... Ts>
inline constexpr bool in_halves = std::endian::native == std::endian::little &&
                                  (std::same_as<Real, float> && ... && std::same_as<Ts, bfloat16>);

/// Calls visit(at, slot) for the positions [first, first + group), each with its place in the group's order.
template <bool InHalves, class Real, class Visit>
TEMPFLOW_INLINE void visit_group(index_t first, const Visit& visit) {
  if constexpr (InHalves) {
    for (int l = 0; l < group / 2; ++l) {
      visit(half_of_word_at<0>{first + 2 * l}, l);
      visit(half_of_word_at<1>{first + 2 * l + 1}, l + group / 2);
    }
  } else {
    for (int l = 0; l < group; ++l) visit(element_at<Real>{first + l}, l);
  }
}

/// The place of position l of a group in its order.
template <bool InHalves>
TEMPFLOW_INLINE constexpr int slot_of(int l) {
  return InHalves ? l / 2 + l % 2 * (group / 2) : l;
}

/// A group of values in the group's order, rounded to storage in the order of the elements.
template <bool InHalves, class Real, storage_scalar T>
TEMPFLOW_INLINE void store_group(const Real (&value)[group], T (&stored)[group]) {
  if constexpr (InHalves) {
    std::uint32_t word[group / 2];
    for (int l = 0; l < group / 2; ++l) {
      word[l] =
          rounded_to_upper_half(value[l]) >> 16 | (rounded_to_upper_half(value[l + group / 2]) & 0xffff0000u);
    }
    std::memcpy(stored, word, sizeof word);
  } else {
    for (int l = 0; l < group; ++l) stored[l] = store<T>(value[l]);
  }
}

}  // namespace tempflow::detail
