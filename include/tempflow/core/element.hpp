// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How the text of a row reads its elements. The text says what happens at one position, for any reader `at`:
// at(row) is the element of `row` there, or a register of neighbouring elements. Rows may differ in their storage
// types. Of a mask (bytes) it is a word, 0 where an element is left out. Positions come in groups of 32, one after
// another, or, where all rows are bf16, in the order that suits it: the lower halves of 16 words and then the upper
// ones, which costs no shuffle.

#include <concepts>
#include <cstdint>
#include <utility>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/instruction_set.hpp"
#include "tempflow/core/lanes.hpp"
#include "tempflow/core/scalar.hpp"

namespace tempflow::detail {

/// Positions that are visited together.
inline constexpr int group = 32;

/// Reads element `index` of a row, as Real.
template <class Real>
struct element_at {
  index_t index;

  template <storage_scalar T>
  TEMPFLOW_INLINE_HOST Real operator()(const T* row) const {
    return Real{load(row[index])};
  }
  TEMPFLOW_INLINE_HOST std::uint32_t operator()(const std::uint8_t* mask) const { return mask[index]; }
};

/// Reads Width elements of a row from `index` on.
template <int Width>
struct register_at {
  index_t index;

  TEMPFLOW_INLINE_HOST lanes<float, Width> operator()(const float* row) const { return read<float>(row); }
  TEMPFLOW_INLINE_HOST lanes<float, Width> operator()(const bfloat16* row) const {
    return as_float(widened(read<std::uint16_t>(row)) << 16);
  }
  TEMPFLOW_INLINE_HOST lanes<float, Width> operator()(const float16* row) const {
    return from_fp16(read<std::uint16_t>(row));
  }
  TEMPFLOW_INLINE_HOST lanes<std::uint32_t, Width> operator()(const std::uint8_t* mask) const {
    return widened(read<std::uint8_t>(mask));
  }

 private:
  template <class Number, class T>
  TEMPFLOW_INLINE_HOST lanes<Number, Width> read(const T* row) const {
    lanes<Number, Width> numbers;
    numbers.read(row + index);
    return numbers;
  }
};

/// Reads the lower or upper halves of Width words of a bf16 row, from element `index` on.
template <int Width, bool Upper>
struct halves_at {
  index_t index;

  TEMPFLOW_INLINE_HOST lanes<float, Width> operator()(const bfloat16* row) const {
    lanes<std::uint32_t, Width> words;
    words.read(row + index);
    if constexpr (Upper) {
      return as_float(words & 0xffff0000u);
    } else {
      return as_float(words << 16);
    }
  }
  TEMPFLOW_INLINE_HOST lanes<std::uint32_t, Width> operator()(const std::uint8_t* mask) const {
    lanes<std::uint16_t, Width> pairs;
    pairs.read(mask + index);
    if constexpr (Upper) {
      return widened(pairs) >> 8;
    } else {
      return widened(pairs) & 0xffu;
    }
  }
};

/// How rows stored as Rows are visited, in given instructions.
template <class Real, instruction_set Instructions, class... Rows>
struct visit_plan {
  static constexpr bool in_registers = TEMPFLOW_VECTOR_TYPES && Instructions != instruction_set::portable &&
                                       std::same_as<Real, float> && !(std::same_as<Rows, double> || ...);
  /// Even positions of a group come first, the odd ones after them.
  static constexpr bool in_halves = in_registers && (std::same_as<Rows, bfloat16> && ...);
  /// Elements that a visit is for, and visits that a group takes.
  static constexpr int width = !in_registers ? 1 : Instructions == instruction_set::avx512 ? 16 : 8;
  static constexpr int visits = group / width;

  template <class R, int Width>
  struct value_type {
    using type = lanes<R, Width>;
  };
  template <class R>
  struct value_type<R, 1> {
    using type = R;
  };
  /// What a reader reads.
  using value = typename value_type<Real, width>::type;

  /// Calls visit(at, i) for the visits i of the group from `first` on.
  template <class Visit>
  TEMPFLOW_INLINE_HOST static void group_from(index_t first, const Visit& visit) {
    if constexpr (in_registers) {
      each_register(first, visit, std::make_integer_sequence<int, visits>{});
    } else {
      for (int l = 0; l < group; ++l) visit(element_at<Real>{first + l}, l);
    }
  }

  /// The place of position l in the order of visits.
  TEMPFLOW_INLINE_HOST static constexpr int slot_of(int l) {
    return in_halves ? l / 2 + l % 2 * (group / 2) : l;
  }

 private:
  // Spelt out, because arrays that a loop runs over do not stay in registers.
  template <class Visit, int... Index>
  TEMPFLOW_INLINE_HOST static void each_register(index_t first, const Visit& visit,
                                                 std::integer_sequence<int, Index...>) {
    if constexpr (in_halves) {
      (visit(halves_at<width, (Index >= visits / 2)>{first + Index % (visits / 2) * 2 * width}, Index), ...);
    } else {
      (visit(register_at<width>{first + Index * width}, Index), ...);
    }
  }
};

}  // namespace tempflow::detail
