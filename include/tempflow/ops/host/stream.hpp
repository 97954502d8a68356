// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Stores that go past the caches: for outputs so large that they would only push out what is still to be
// read.

#include <cstdint>
#include <utility>

#include "tempflow/config.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/element.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/lanes.hpp"

namespace tempflow::detail {

/// Streamed memory must be aligned to this many bytes.
inline constexpr int stream_alignment = 64;

/// An output of this many bytes will have left the caches of a core before it is read again.
inline constexpr index_t stream_bytes = index_t{4} << 20;

/// Whether rows of `out` are aligned, long enough for a fence each, and enough to be worth it.
template <class T>
bool worth_streaming(const batch_view<T>& out) {
  const auto start = reinterpret_cast<std::uintptr_t>(out.data());
  const auto stride = out.row_stride() * static_cast<index_t>(sizeof(T));
  constexpr index_t min_row_bytes = 4096;
  const index_t row_bytes = out.columns() * static_cast<index_t>(sizeof(T));
  const bool aligned = start % stream_alignment == 0 && stride % stream_alignment == 0;
  return aligned && row_bytes >= min_row_bytes && out.rows() * row_bytes >= stream_bytes;
}

/// Writes a register; a streamed one to aligned memory.
template <bool Streamed, class Lanes>
TEMPFLOW_INLINE_HOST void store_register(const Lanes& values, void* out) {
  if constexpr (Streamed) {
    stream(out, values);
  } else {
    values.write(out);
  }
}

/// Writes bf16 registers: those of even elements and, after them, those of odd ones.
template <class Plan, bool Streamed, class Value, class G, int... Index>
TEMPFLOW_INLINE_HOST void store_halves(const Value (&value)[Plan::visits], G* out,
                                       std::integer_sequence<int, Index...>) {
  constexpr int words = Plan::visits / 2;
  (store_register<Streamed>((rounded_to_upper_half(as_word(value[Index])) >> 16) |
                                (rounded_to_upper_half(as_word(value[Index + words])) & 0xffff0000u),
                            out + Index * 2 * Plan::width),
   ...);
}
/// Writes a register of neighbours.
template <bool Streamed, int Width>
TEMPFLOW_INLINE_HOST void store_neighbours(const lanes<float, Width>& values, float* out) {
  store_register<Streamed>(values, out);
}
template <bool Streamed, int Width>
TEMPFLOW_INLINE_HOST void store_neighbours(const lanes<float, Width>& values, bfloat16* out) {
  store_register<Streamed>(narrowed(rounded_to_upper_half(as_word(values)) >> 16), out);
}
template <bool Streamed, int Width>
TEMPFLOW_INLINE_HOST void store_neighbours(const lanes<float, Width>& values, float16* out) {
  store_register<Streamed>(to_fp16(values), out);
}
template <class Plan, bool Streamed, class Value, class G, int... Index>
TEMPFLOW_INLINE_HOST void store_registers(const Value (&value)[Plan::visits], G* out,
                                          std::integer_sequence<int, Index...>) {
  (store_neighbours<Streamed>(value[Index], out + Index * Plan::width), ...);
}

/// Writes the values of a group of visits to memory: rounded to storage, in the order of the elements.
template <class Plan, bool Streamed, class Value, class G>
TEMPFLOW_INLINE_HOST void store_group(const Value (&value)[Plan::visits], G* out) {
  if constexpr (!Plan::in_registers) {
    for (int l = 0; l < group; ++l) out[l] = store<G>(value[l]);
  } else if constexpr (Plan::in_halves) {
    store_halves<Plan, Streamed>(value, out, std::make_integer_sequence<int, Plan::visits / 2>{});
  } else {
    store_registers<Plan, Streamed>(value, out, std::make_integer_sequence<int, Plan::visits>{});
  }
}

}  // namespace tempflow::detail
