// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// AVX2 and AVX-512 registers, in the compilers' vector types, and what these types have no operator for: from
// the compilers' builtins, because <immintrin.h> would double the time that the library takes to compile.
//
// These functions take references, so that no vector is ever passed in a register that one side of a call
// does not know.

#include <cstdint>

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

/// All lanes of 16, for builtins whose mask is signed in GCC.
#if defined(__clang__)
inline constexpr unsigned short all_of_16 = 0xffff;
#else
inline constexpr short all_of_16 = -1;
#endif

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
  constexpr int current_rounding = 4;
  out = __builtin_ia32_vfmaddps512_mask(a, b, c, all_of_16, current_rounding);
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
  constexpr unsigned char all_lanes = 0xff;
  out = reinterpret_cast<vector<std::uint64_t, 8>>(
      __builtin_ia32_pmuludq512_mask(reinterpret_cast<words>(a), reinterpret_cast<words>(b),
                                     reinterpret_cast<vector<long long, 8>>(a), all_lanes));
#endif
}

// Words of the bytes.
TEMPFLOW_AVX2 inline void widen(vector<std::uint32_t, 8>& out, const vector<std::uint8_t, 8>& bytes) {
#if defined(__clang__)
  out = __builtin_convertvector(bytes, vector<std::uint32_t, 8>);
#else
  const vector<long long, 2> low{__builtin_bit_cast(long long, bytes), 0};
  out = reinterpret_cast<vector<std::uint32_t, 8>>(
      __builtin_ia32_pmovzxbd256(reinterpret_cast<vector<char, 16>>(low)));
#endif
}
TEMPFLOW_AVX512 inline void widen(vector<std::uint32_t, 16>& out, const vector<std::uint8_t, 16>& bytes) {
  using words = vector<std::uint32_t, 16>;
  out = __builtin_convertvector(bytes, words);
}

// Words of the halves, and the lower halves of words.
TEMPFLOW_AVX2 inline void widen(vector<std::uint32_t, 8>& out, const vector<std::uint16_t, 8>& halves) {
#if defined(__clang__)
  out = __builtin_convertvector(halves, vector<std::uint32_t, 8>);
#else
  out = reinterpret_cast<vector<std::uint32_t, 8>>(
      __builtin_ia32_pmovzxwd256(reinterpret_cast<vector<short, 8>>(halves)));
#endif
}
TEMPFLOW_AVX512 inline void widen(vector<std::uint32_t, 16>& out, const vector<std::uint16_t, 16>& halves) {
  using words = vector<std::uint32_t, 16>;
  out = __builtin_convertvector(halves, words);
}
TEMPFLOW_AVX2 inline void narrow(vector<std::uint16_t, 8>& out, const vector<std::uint32_t, 8>& words) {
  using halves = vector<std::uint16_t, 8>;
  out = __builtin_convertvector(words, halves);
}
TEMPFLOW_AVX512 inline void narrow(vector<std::uint16_t, 16>& out, const vector<std::uint32_t, 16>& words) {
  using halves = vector<std::uint16_t, 16>;
  out = __builtin_convertvector(words, halves);
}

// IEEE half precision to fp32 and, to the nearest, back.
TEMPFLOW_AVX2 inline void from_fp16(vector<float, 8>& out, const vector<std::uint16_t, 8>& halves) {
  out = __builtin_ia32_vcvtph2ps256(reinterpret_cast<vector<short, 8>>(halves));
}
TEMPFLOW_AVX512 inline void from_fp16(vector<float, 16>& out, const vector<std::uint16_t, 16>& halves) {
  constexpr int current_rounding = 4;
  out = __builtin_ia32_vcvtph2ps512_mask(reinterpret_cast<vector<short, 16>>(halves), vector<float, 16>{},
                                         all_of_16, current_rounding);
}
TEMPFLOW_AVX2 inline void to_fp16(vector<std::uint16_t, 8>& out, const vector<float, 8>& reals) {
  out = reinterpret_cast<vector<std::uint16_t, 8>>(__builtin_ia32_vcvtps2ph256(reals, 0));
}
TEMPFLOW_AVX512 inline void to_fp16(vector<std::uint16_t, 16>& out, const vector<float, 16>& reals) {
  constexpr unsigned short all_lanes = 0xffff;
  out = reinterpret_cast<vector<std::uint16_t, 16>>(
      __builtin_ia32_vcvtps2ph512_mask(reals, 0, vector<short, 16>{}, all_lanes));
}

// Stores past the caches, to memory that is aligned to the register.
inline void stream(void* out, const vector<long long, 2>& a) {
#if defined(__clang__)
  __builtin_nontemporal_store(a, static_cast<vector<long long, 2>*>(out));
#else
  __builtin_ia32_movntdq(static_cast<vector<long long, 2>*>(out), a);
#endif
}
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

}  // namespace tempflow::detail

#endif
