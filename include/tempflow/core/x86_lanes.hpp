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

/// Width values of type T. See core/lanes.hpp for what the functions mean.
template <class T, int Width>
struct lanes {
  vector<T, Width> value;

  TEMPFLOW_INLINE lanes() {}
  TEMPFLOW_INLINE lanes(T same) { registers::broadcast(value, same); }
  TEMPFLOW_INLINE explicit lanes(const vector<T, Width>& values) : value(values) {}
  // Written out, so that a lanes is never trivially copyable and no ABI passes it in a register.
  TEMPFLOW_INLINE lanes(const lanes& other) : value(other.value) {}
  TEMPFLOW_INLINE lanes& operator=(const lanes& other) {
    value = other.value;
    return *this;
  }

  TEMPFLOW_INLINE friend lanes operator+(const lanes& a, const lanes& b) { return lanes(a.value + b.value); }
  TEMPFLOW_INLINE friend lanes operator-(const lanes& a, const lanes& b) { return lanes(a.value - b.value); }
  TEMPFLOW_INLINE friend lanes operator*(const lanes& a, const lanes& b) { return lanes(a.value * b.value); }
  TEMPFLOW_INLINE friend lanes operator&(const lanes& a, const lanes& b) { return lanes(a.value & b.value); }
  TEMPFLOW_INLINE friend lanes operator|(const lanes& a, const lanes& b) { return lanes(a.value | b.value); }
  TEMPFLOW_INLINE friend lanes operator^(const lanes& a, const lanes& b) { return lanes(a.value ^ b.value); }
  TEMPFLOW_INLINE friend lanes operator<<(const lanes& a, int bits) { return lanes(a.value << bits); }
  TEMPFLOW_INLINE friend lanes operator>>(const lanes& a, int bits) { return lanes(a.value >> bits); }

  TEMPFLOW_INLINE friend lanes fused_multiply_add(const lanes& a, const lanes& b, const lanes& c) {
    lanes out;
    registers::fused_multiply_add(out.value, a.value, b.value, c.value);
    return out;
  }
  TEMPFLOW_INLINE friend lanes square_root(const lanes& a) {
    lanes out;
    registers::square_root(out.value, a.value);
    return out;
  }
  /// Past the caches, to aligned memory.
  TEMPFLOW_INLINE friend void stream(void* out, const lanes& a) {
    constexpr int words = static_cast<int>(sizeof(vector<T, Width>)) / 8;
    registers::stream(out, reinterpret_cast<vector<long long, words>>(a.value));
  }
  TEMPFLOW_INLINE friend lanes multiply_low_halves(const lanes& a, const lanes& b) {
    lanes out;
    registers::multiply_low_halves(out.value, a.value, b.value);
    return out;
  }
};

template <int Width>
TEMPFLOW_INLINE lanes<float, Width> as_float(const lanes<std::uint32_t, Width>& words) {
  return lanes<float, Width>(reinterpret_cast<vector<float, Width>>(words.value));
}
template <int Width>
TEMPFLOW_INLINE lanes<std::uint32_t, Width> as_word(const lanes<float, Width>& reals) {
  return lanes<std::uint32_t, Width>(reinterpret_cast<vector<std::uint32_t, Width>>(reals.value));
}
template <int Width>
TEMPFLOW_INLINE lanes<float, Width> signed_to_float(const lanes<std::uint32_t, Width>& words) {
  return lanes<float, Width>(__builtin_convertvector(
      reinterpret_cast<vector<std::int32_t, Width>>(words.value), vector<float, Width>));
}
template <int Width>
TEMPFLOW_INLINE lanes<std::uint32_t, Width> signed_shift_right(const lanes<std::uint32_t, Width>& words,
                                                               int bits) {
  return lanes<std::uint32_t, Width>(reinterpret_cast<vector<std::uint32_t, Width>>(
      reinterpret_cast<vector<std::int32_t, Width>>(words.value) >> bits));
}
template <int Width>
TEMPFLOW_INLINE lanes<float, Width> select(const lanes<std::uint32_t, Width>& words,
                                           const lanes<float, Width>& a, const lanes<float, Width>& b) {
  return lanes<float, Width>(words.value != 0 ? a.value : b.value);
}

template <int Width>
TEMPFLOW_INLINE lanes<std::uint32_t, Width> select_above(const lanes<std::uint32_t, Width>& words,
                                                         std::uint32_t limit,
                                                         const lanes<std::uint32_t, Width>& a,
                                                         const lanes<std::uint32_t, Width>& b) {
  const auto is_above =
      reinterpret_cast<vector<std::int32_t, Width>>(words.value) > static_cast<std::int32_t>(limit);
  return lanes<std::uint32_t, Width>(is_above ? a.value : b.value);
}

/// The low halves of both, alternately: even[0], odd[0], even[1], ...
template <int Width>
TEMPFLOW_INLINE lanes<std::uint32_t, 2 * Width> interleave_low_halves(
    const lanes<std::uint64_t, Width>& even, const lanes<std::uint64_t, Width>& odd) {
  const lanes<std::uint64_t, Width> both = (even & 0xffffffffu) | (odd << 32);
  return lanes<std::uint32_t, 2 * Width>(reinterpret_cast<vector<std::uint32_t, 2 * Width>>(both.value));
}

/// The lower (Half = 0) or upper half of a and of b, alternately.
template <int Half, class T, int Width, int... Index>
TEMPFLOW_INLINE lanes<T, Width> interleave(const lanes<T, Width>& a, const lanes<T, Width>& b,
                                           std::integer_sequence<int, Index...>) {
  return lanes<T, Width>(
      __builtin_shufflevector(a.value, b.value, (Half * Width / 2 + Index / 2 + Index % 2 * Width)...));
}
template <int Half, class T, int Width>
TEMPFLOW_INLINE lanes<T, Width> interleave(const lanes<T, Width>& a, const lanes<T, Width>& b) {
  return interleave<Half>(a, b, std::make_integer_sequence<int, Width>{});
}

/// out[4 i + k] = z[k][i].
template <int Width>
TEMPFLOW_INLINE void write_interleaved(const lanes<float, Width>& z0, const lanes<float, Width>& z1,
                                       const lanes<float, Width>& z2, const lanes<float, Width>& z3,
                                       float* out) {
  using pairs = lanes<std::uint64_t, Width / 2>;
  const auto as_pairs = [](const lanes<float, Width>& z) TEMPFLOW_INLINE_LAMBDA {
    return pairs(reinterpret_cast<vector<std::uint64_t, Width / 2>>(z.value));
  };
  const pairs first_low = as_pairs(interleave<0>(z0, z1)), first_high = as_pairs(interleave<1>(z0, z1));
  const pairs second_low = as_pairs(interleave<0>(z2, z3)), second_high = as_pairs(interleave<1>(z2, z3));
  const pairs quads[4] = {interleave<0>(first_low, second_low), interleave<1>(first_low, second_low),
                          interleave<0>(first_high, second_high), interleave<1>(first_high, second_high)};
  std::memcpy(out, quads, sizeof quads);
}

/// Makes what this thread streamed visible to threads that learn of it afterwards.
inline void stream_fence() { __builtin_ia32_sfence(); }

}  // namespace tempflow::detail

#else

namespace tempflow::detail {

inline void stream_fence() {}

}  // namespace tempflow::detail

#endif
