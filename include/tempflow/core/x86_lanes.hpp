// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Values in an AVX2 or AVX-512 register (core/x86_registers.hpp). Operators work lane by lane. All of it is
// inlined into a function compiled for the right instructions (see TEMPFLOW_AVX2).

#include <cstdint>
#include <cstring>

#include "tempflow/config.hpp"
#include "tempflow/core/x86_registers.hpp"

#if TEMPFLOW_VECTOR_TYPES

namespace tempflow::detail {

/// The bytes of a register. nvcc takes no vector types in functions for host and device, so registers travel
/// between these as bytes; each function below reads and writes them whole, and compilers keep them in the
/// register.
template <class T, int Width>
struct alignas(sizeof(T) * Width) register_bytes {
  T value[Width];
};

/// Width values of type T. See core/lanes.hpp for what the functions mean.
template <class T, int Width>
struct lanes {
  using vector_type = vector<T, Width>;

  register_bytes<T, Width> bytes;

  TEMPFLOW_INLINE_HOST lanes() {}
  TEMPFLOW_INLINE_HOST lanes(T same) {
    vector_type values;
    registers::broadcast(values, same);
    set(values);
  }
  TEMPFLOW_INLINE_HOST explicit lanes(const vector_type& values) { set(values); }
  // Written out, so that a lanes is never trivially copyable and no ABI passes it in a register.
  TEMPFLOW_INLINE_HOST lanes(const lanes& other) { set(__builtin_bit_cast(vector_type, other.bytes)); }
  TEMPFLOW_INLINE_HOST lanes& operator=(const lanes& other) {
    set(__builtin_bit_cast(vector_type, other.bytes));
    return *this;
  }
  /// From and to memory, wherever it lies.
  TEMPFLOW_INLINE_HOST void read(const void* from) {
    vector_type values;
    std::memcpy(&values, from, sizeof values);
    set(values);
  }
  TEMPFLOW_INLINE_HOST void write(void* to) const {
    const auto values = __builtin_bit_cast(vector_type, bytes);
    std::memcpy(to, &values, sizeof values);
  }

  TEMPFLOW_INLINE_HOST void set(const vector_type& values) { std::memcpy(&bytes, &values, sizeof values); }

  TEMPFLOW_INLINE_HOST friend lanes operator+(const lanes& a, const lanes& b) {
    return lanes(__builtin_bit_cast(vector_type, a.bytes) + __builtin_bit_cast(vector_type, b.bytes));
  }
  TEMPFLOW_INLINE_HOST friend lanes operator-(const lanes& a, const lanes& b) {
    return lanes(__builtin_bit_cast(vector_type, a.bytes) - __builtin_bit_cast(vector_type, b.bytes));
  }
  TEMPFLOW_INLINE_HOST friend lanes operator*(const lanes& a, const lanes& b) {
    return lanes(__builtin_bit_cast(vector_type, a.bytes) * __builtin_bit_cast(vector_type, b.bytes));
  }
  TEMPFLOW_INLINE_HOST friend lanes operator&(const lanes& a, const lanes& b) {
    return lanes(__builtin_bit_cast(vector_type, a.bytes) & __builtin_bit_cast(vector_type, b.bytes));
  }
  TEMPFLOW_INLINE_HOST friend lanes operator|(const lanes& a, const lanes& b) {
    return lanes(__builtin_bit_cast(vector_type, a.bytes) | __builtin_bit_cast(vector_type, b.bytes));
  }
  TEMPFLOW_INLINE_HOST friend lanes operator^(const lanes& a, const lanes& b) {
    return lanes(__builtin_bit_cast(vector_type, a.bytes) ^ __builtin_bit_cast(vector_type, b.bytes));
  }
  TEMPFLOW_INLINE_HOST friend lanes operator<<(const lanes& a, int bits) {
    return lanes(__builtin_bit_cast(vector_type, a.bytes) << bits);
  }
  TEMPFLOW_INLINE_HOST friend lanes operator>>(const lanes& a, int bits) {
    return lanes(__builtin_bit_cast(vector_type, a.bytes) >> bits);
  }

  TEMPFLOW_INLINE_HOST friend lanes fused_multiply_add(const lanes& a, const lanes& b, const lanes& c) {
    vector_type out;
    registers::fused_multiply_add(out, __builtin_bit_cast(vector_type, a.bytes),
                                  __builtin_bit_cast(vector_type, b.bytes),
                                  __builtin_bit_cast(vector_type, c.bytes));
    return lanes(out);
  }
  TEMPFLOW_INLINE_HOST friend lanes square_root(const lanes& a) {
    vector_type out;
    registers::square_root(out, __builtin_bit_cast(vector_type, a.bytes));
    return lanes(out);
  }
  /// Past the caches, to aligned memory.
  TEMPFLOW_INLINE_HOST friend void stream(void* out, const lanes& a) {
    constexpr int words = static_cast<int>(sizeof(vector_type)) / 8;
    using integers = vector<long long, words>;
    registers::stream(out, __builtin_bit_cast(integers, a.bytes));
  }
  TEMPFLOW_INLINE_HOST friend lanes multiply_low_halves(const lanes& a, const lanes& b) {
    vector_type out;
    registers::multiply_low_halves(out, __builtin_bit_cast(vector_type, a.bytes),
                                   __builtin_bit_cast(vector_type, b.bytes));
    return lanes(out);
  }
};

/// The same bits as values of another type.
template <class To, class T, int Width>
TEMPFLOW_INLINE_HOST auto cast(const lanes<T, Width>& a) {
  constexpr int width = Width * static_cast<int>(sizeof(T)) / static_cast<int>(sizeof(To));
  using target = vector<To, width>;
  return lanes<To, width>(__builtin_bit_cast(target, a.bytes));
}

template <int Width>
TEMPFLOW_INLINE_HOST lanes<float, Width> as_float(const lanes<std::uint32_t, Width>& words) {
  return cast<float>(words);
}
template <int Width>
TEMPFLOW_INLINE_HOST lanes<std::uint32_t, Width> as_word(const lanes<float, Width>& reals) {
  return cast<std::uint32_t>(reals);
}

/// Words of bytes or halves, and the lower halves of words.
template <class Narrow, int Width>
TEMPFLOW_INLINE_HOST lanes<std::uint32_t, Width> widened(const lanes<Narrow, Width>& narrow) {
  using values = vector<Narrow, Width>;
  vector<std::uint32_t, Width> out;
  registers::widen(out, __builtin_bit_cast(values, narrow.bytes));
  return lanes<std::uint32_t, Width>(out);
}
template <int Width>
TEMPFLOW_INLINE_HOST lanes<std::uint16_t, Width> narrowed(const lanes<std::uint32_t, Width>& words) {
  using values = vector<std::uint32_t, Width>;
  vector<std::uint16_t, Width> out;
  registers::narrow(out, __builtin_bit_cast(values, words.bytes));
  return lanes<std::uint16_t, Width>(out);
}

/// fp16 as fp32, and the nearest fp16: the bits of load and store.
template <int Width>
TEMPFLOW_INLINE_HOST lanes<float, Width> from_fp16(const lanes<std::uint16_t, Width>& halves) {
  using values = vector<std::uint16_t, Width>;
  vector<float, Width> out;
  registers::from_fp16(out, __builtin_bit_cast(values, halves.bytes));
  return lanes<float, Width>(out);
}
template <int Width>
TEMPFLOW_INLINE_HOST lanes<std::uint16_t, Width> to_fp16(const lanes<float, Width>& reals) {
  using values = vector<float, Width>;
  vector<std::uint16_t, Width> out;
  registers::to_fp16(out, __builtin_bit_cast(values, reals.bytes));
  return lanes<std::uint16_t, Width>(out);
}
template <int Width>
TEMPFLOW_INLINE_HOST lanes<float, Width> signed_to_float(const lanes<std::uint32_t, Width>& words) {
  using integers = vector<std::int32_t, Width>;
  using reals = vector<float, Width>;
  return lanes<float, Width>(__builtin_convertvector(__builtin_bit_cast(integers, words.bytes), reals));
}
template <int Width>
TEMPFLOW_INLINE_HOST lanes<float, Width> select(const lanes<std::uint32_t, Width>& words,
                                                const lanes<float, Width>& a, const lanes<float, Width>& b) {
  using masks = vector<std::uint32_t, Width>;
  using reals = vector<float, Width>;
  return lanes<float, Width>(__builtin_bit_cast(masks, words.bytes) != 0
                                 ? __builtin_bit_cast(reals, a.bytes)
                                 : __builtin_bit_cast(reals, b.bytes));
}

template <int Width>
TEMPFLOW_INLINE_HOST lanes<std::uint32_t, Width> select_above(const lanes<std::uint32_t, Width>& words,
                                                              std::uint32_t limit,
                                                              const lanes<std::uint32_t, Width>& a,
                                                              const lanes<std::uint32_t, Width>& b) {
  using integers = vector<std::int32_t, Width>;
  using values = vector<std::uint32_t, Width>;
  const auto is_above = __builtin_bit_cast(integers, words.bytes) > static_cast<std::int32_t>(limit);
  return lanes<std::uint32_t, Width>(is_above ? __builtin_bit_cast(values, a.bytes)
                                              : __builtin_bit_cast(values, b.bytes));
}

/// The low halves of both, alternately: even[0], odd[0], even[1], ...
template <int Width>
TEMPFLOW_INLINE_HOST lanes<std::uint32_t, 2 * Width> interleave_low_halves(
    const lanes<std::uint64_t, Width>& even, const lanes<std::uint64_t, Width>& odd) {
  return cast<std::uint32_t>((even & 0xffffffffu) | (odd << 32));
}

/// The lower (Half = 0) or upper half of a and of b, alternately. Places are spelt out, since nvcc drops the
/// dots of a pack in a builtin.
template <int Half, class T, int Width>
TEMPFLOW_INLINE_HOST lanes<T, Width> interleave(const lanes<T, Width>& a, const lanes<T, Width>& b) {
  using values = vector<T, Width>;
  const auto x = __builtin_bit_cast(values, a.bytes), y = __builtin_bit_cast(values, b.bytes);
  constexpr int i = Half * Width / 2, j = i + Width;
  if constexpr (Width == 4) {
    return lanes<T, Width>(__builtin_shufflevector(x, y, i, j, i + 1, j + 1));
  } else if constexpr (Width == 8) {
    return lanes<T, Width>(__builtin_shufflevector(x, y, i, j, i + 1, j + 1, i + 2, j + 2, i + 3, j + 3));
  } else {
    static_assert(Width == 16);
    return lanes<T, Width>(__builtin_shufflevector(x, y, i, j, i + 1, j + 1, i + 2, j + 2, i + 3, j + 3,
                                                   i + 4, j + 4, i + 5, j + 5, i + 6, j + 6, i + 7, j + 7));
  }
}

/// out[4 i + k] = z[k][i].
template <int Width>
TEMPFLOW_INLINE_HOST void write_interleaved(const lanes<float, Width>& z0, const lanes<float, Width>& z1,
                                            const lanes<float, Width>& z2, const lanes<float, Width>& z3,
                                            float* out) {
  using word = std::uint64_t;
  const auto first_low = cast<word>(interleave<0>(z0, z1)), first_high = cast<word>(interleave<1>(z0, z1));
  const auto second_low = cast<word>(interleave<0>(z2, z3)), second_high = cast<word>(interleave<1>(z2, z3));
  const lanes<word, Width / 2> quads[4] = {
      interleave<0>(first_low, second_low), interleave<1>(first_low, second_low),
      interleave<0>(first_high, second_high), interleave<1>(first_high, second_high)};
  for (int i = 0; i < 4; ++i) quads[i].write(out + i * Width);
}

/// Makes what this thread streamed visible to threads that learn of it afterwards.
inline void stream_fence() { __builtin_ia32_sfence(); }

}  // namespace tempflow::detail

#else

namespace tempflow::detail {

inline void stream_fence() {}

}  // namespace tempflow::detail

#endif
