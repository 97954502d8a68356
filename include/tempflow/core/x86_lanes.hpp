// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Values in an AVX2 or AVX-512 register, in the compilers' vector types. Operators work lane by lane. What
// the types have no operator for comes from the compilers' builtins, because <immintrin.h> would double the
// time that the library takes to compile.
//
// Everything but these builtins is inlined into a function compiled for the right instructions (see
// TEMPFLOW_AVX2), and they take references, so that no vector is ever passed in a register that one side of a
// call does not know.

#include <cstdint>
#include <cstring>
#include <utility>

#include "tempflow/config.hpp"

#if TEMPFLOW_VECTOR_TYPES

namespace tempflow::detail {

template <class T, int Width>
struct vector_type {
  typedef T type [[gnu::vector_size(Width * sizeof(T))]];
};
template <class T, int Width>
using vector = typename vector_type<T, Width>::type;

namespace registers {

template <class T>
TEMPFLOW_AVX2 inline void broadcast(vector<T, 32 / sizeof(T)>& out, T a) {
  out = a - vector<T, 32 / sizeof(T)>{};
}
template <class T>
TEMPFLOW_AVX512 inline void broadcast(vector<T, 64 / sizeof(T)>& out, T a) {
  out = a - vector<T, 64 / sizeof(T)>{};
}

TEMPFLOW_AVX2 inline void fused_multiply_add(vector<float, 8>& out, const vector<float, 8>& a,
                                             const vector<float, 8>& b, const vector<float, 8>& c) {
#if __has_builtin(__builtin_elementwise_fma)
  out = __builtin_elementwise_fma(a, b, c);
#else
  out = __builtin_ia32_vfmaddps256(a, b, c);
#endif
}
TEMPFLOW_AVX512 inline void fused_multiply_add(vector<float, 16>& out, const vector<float, 16>& a,
                                               const vector<float, 16>& b, const vector<float, 16>& c) {
#if __has_builtin(__builtin_elementwise_fma)
  out = __builtin_elementwise_fma(a, b, c);
#else
  constexpr int all_lanes = -1, current_rounding = 4;
  out = __builtin_ia32_vfmaddps512_mask(a, b, c, all_lanes, current_rounding);
#endif
}

TEMPFLOW_AVX2 inline void square_root(vector<float, 8>& out, const vector<float, 8>& a) {
#if __has_builtin(__builtin_elementwise_sqrt)
  out = __builtin_elementwise_sqrt(a);
#else
  out = __builtin_ia32_sqrtps256(a);
#endif
}
TEMPFLOW_AVX512 inline void square_root(vector<float, 16>& out, const vector<float, 16>& a) {
  [[maybe_unused]] constexpr int current_rounding = 4;
#if __has_builtin(__builtin_elementwise_sqrt)
  out = __builtin_elementwise_sqrt(a);
#elif defined(__clang__)
  out = __builtin_ia32_sqrtps512(a, current_rounding);
#else
  out = __builtin_ia32_sqrtps512_mask(a, a, -1, current_rounding);
#endif
}

TEMPFLOW_AVX2 inline void multiply_low_halves(vector<std::uint64_t, 4>& out,
                                              const vector<std::uint64_t, 4>& a,
                                              const vector<std::uint64_t, 4>& b) {
  using words = vector<int, 8>;
  out = reinterpret_cast<vector<std::uint64_t, 4>>(
      __builtin_ia32_pmuludq256(reinterpret_cast<words>(a), reinterpret_cast<words>(b)));
}
TEMPFLOW_AVX512 inline void multiply_low_halves(vector<std::uint64_t, 8>& out,
                                                const vector<std::uint64_t, 8>& a,
                                                const vector<std::uint64_t, 8>& b) {
  using words = vector<int, 16>;
#if defined(__clang__)
  out = reinterpret_cast<vector<std::uint64_t, 8>>(
      __builtin_ia32_pmuludq512(reinterpret_cast<words>(a), reinterpret_cast<words>(b)));
#else
  out = reinterpret_cast<vector<std::uint64_t, 8>>(__builtin_ia32_pmuludq512_mask(
      reinterpret_cast<words>(a), reinterpret_cast<words>(b), reinterpret_cast<vector<long long, 8>>(a), -1));
#endif
}

// Stores past the caches, to memory that is aligned to the register.
TEMPFLOW_AVX2 inline void stream(void* out, const vector<long long, 4>& a) {
#if defined(__clang__)
  __builtin_nontemporal_store(a, static_cast<vector<long long, 4>*>(out));
#else
  __builtin_ia32_movntdq256(static_cast<vector<long long, 4>*>(out), a);
#endif
}
TEMPFLOW_AVX512 inline void stream(void* out, const vector<long long, 8>& a) {
#if defined(__clang__)
  __builtin_nontemporal_store(a, static_cast<vector<long long, 8>*>(out));
#else
  __builtin_ia32_movntdq512(static_cast<vector<long long, 8>*>(out), a);
#endif
}

}  // namespace registers

/// The bytes of a register. nvcc takes no vector types in functions for host and device, so registers travel between
/// these as bytes; each function below reads and writes them whole, and compilers keep them in the register.
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
template <int Width>
TEMPFLOW_INLINE_HOST lanes<float, Width> signed_to_float(const lanes<std::uint32_t, Width>& words) {
  using integers = vector<std::int32_t, Width>;
  using reals = vector<float, Width>;
  return lanes<float, Width>(__builtin_convertvector(__builtin_bit_cast(integers, words.bytes), reals));
}
template <int Width>
TEMPFLOW_INLINE_HOST lanes<std::uint32_t, Width> signed_shift_right(const lanes<std::uint32_t, Width>& words,
                                                                    int bits) {
  using integers = vector<std::int32_t, Width>;
  return cast<std::uint32_t>(lanes<std::int32_t, Width>(__builtin_bit_cast(integers, words.bytes) >> bits));
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

/// The lower (Half = 0) or upper half of a and of b, alternately.
template <int Half, class T, int Width, int... Index>
TEMPFLOW_INLINE_HOST lanes<T, Width> interleave(const lanes<T, Width>& a, const lanes<T, Width>& b,
                                                std::integer_sequence<int, Index...>) {
  using values = vector<T, Width>;
  return lanes<T, Width>(__builtin_shufflevector(__builtin_bit_cast(values, a.bytes),
                                                 __builtin_bit_cast(values, b.bytes),
                                                 (Half * Width / 2 + Index / 2 + Index % 2 * Width)...));
}
template <int Half, class T, int Width>
TEMPFLOW_INLINE_HOST lanes<T, Width> interleave(const lanes<T, Width>& a, const lanes<T, Width>& b) {
  return interleave<Half>(a, b, std::make_integer_sequence<int, Width>{});
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
