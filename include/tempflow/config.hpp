// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// All preprocessor work of the library, and nothing else, but for what is made of compilers' builtins
// (core/x86_lanes.hpp) and of a device's instructions (core/device_lanes.hpp).
//
// TEMPFLOW_HD       marks a function that CUDA compilers build for host and device. It may add a decoration,
//                   never change a type or a layout, and no bodies but two (core/device_lanes.hpp).
// TEMPFLOW_HD_TEMPLATE   before a TEMPFLOW_HD template that calls what may exist on one of them alone.
// TEMPFLOW_DEVICE   marks the text of a kernel: CUDA compilers build it for the device alone, all others for the
//                   host, where tests run it on an emulated grid.
// TEMPFLOW_ASSERT   inner invariants; off unless TEMPFLOW_ENABLE_ASSERTS is defined (independent of NDEBUG).
//                   Errors a caller can make are not asserts: they throw, always (core/error.hpp).

#if defined(_MSVC_LANG)
#define TEMPFLOW_CPLUSPLUS _MSVC_LANG
#else
#define TEMPFLOW_CPLUSPLUS __cplusplus
#endif

#if TEMPFLOW_CPLUSPLUS < 202002L
#error "tempflow needs C++20: compile with -std=c++20 (CMake: target_compile_features(... cxx_std_20))"
#endif

#if defined(__GNUC__) && !defined(__cpp_exceptions)
#error "tempflow reports errors by exceptions (tempflow/core/error.hpp): compile without -fno-exceptions"
#endif

#if defined(__CUDACC__)
#define TEMPFLOW_HD __host__ __device__
#define TEMPFLOW_DEVICE __device__
#define TEMPFLOW_HD_TEMPLATE _Pragma("nv_exec_check_disable")
#else
#define TEMPFLOW_HD
#define TEMPFLOW_HD_TEMPLATE
#define TEMPFLOW_DEVICE
#endif

// TEMPFLOW_INLINE           marks a function to be part of its caller, whose instruction set it is compiled for;
//                           _HOST for hosts alone, _DEVICE for kernels; _LAMBDA(PARAMETERS) are those of a lambda.
// TEMPFLOW_NOINLINE         marks a function to be compiled once, apart from its callers, so that its bits are
//                           the same wherever it is called from.
#if defined(__GNUC__)
#define TEMPFLOW_INLINE [[gnu::always_inline]] TEMPFLOW_HD inline
#define TEMPFLOW_INLINE_HOST [[gnu::always_inline]] inline
#define TEMPFLOW_INLINE_DEVICE [[gnu::always_inline]] TEMPFLOW_DEVICE inline
// nvcc drops what stands behind a lambda's parameters, and clang warns of what stands before them.
#if defined(__CUDACC__) && !defined(__clang__)
#define TEMPFLOW_INLINE_LAMBDA(...) [[gnu::always_inline]] (__VA_ARGS__)
#else
#define TEMPFLOW_INLINE_LAMBDA(...) (__VA_ARGS__) __attribute__((always_inline))
#endif
#else
#define TEMPFLOW_INLINE TEMPFLOW_HD inline
#define TEMPFLOW_INLINE_HOST inline
#define TEMPFLOW_INLINE_DEVICE TEMPFLOW_DEVICE inline
#define TEMPFLOW_INLINE_LAMBDA(...) (__VA_ARGS__)
#endif
#if defined(__clang__)
#define TEMPFLOW_NOINLINE [[gnu::noinline]]
#elif defined(__GNUC__)
#define TEMPFLOW_NOINLINE [[gnu::noipa]]
#else
#define TEMPFLOW_NOINLINE
#endif

// TEMPFLOW_HIDDEN           marks what each shared library has a copy of its own of, whatever others of the program
//                           export: kernels, what launches them, and the operations that lead there.
#if defined(__GNUC__) && !defined(_WIN32)
#define TEMPFLOW_HIDDEN [[gnu::visibility("hidden")]]
#else
#define TEMPFLOW_HIDDEN
#endif

// TEMPFLOW_FLATTEN                 inlines all that a function calls.
// TEMPFLOW_AVX2, _AVX512           mark a function that is compiled for these instructions, whatever its file.
// TEMPFLOW_CPU_HAS_AVX2(), _AVX512 whether such a function may run on this processor.
// TEMPFLOW_VECTOR_TYPES            whether the compiler has the vector types that core/lanes.hpp is made of.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__CUDA_ARCH__)
#define TEMPFLOW_AVX2 [[gnu::target("avx2,fma,f16c")]]
#define TEMPFLOW_AVX512 [[gnu::target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]]
#define TEMPFLOW_FLATTEN [[gnu::flatten]]
#include <cpuid.h>
#define TEMPFLOW_CPU_HAS_AVX2() \
  (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && TEMPFLOW_CPU_HAS_F16C())
#define TEMPFLOW_CPU_HAS_AVX512()                                                        \
  (TEMPFLOW_CPU_HAS_AVX2() && __builtin_cpu_supports("avx512f") != 0 &&                  \
   __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 && \
   __builtin_cpu_supports("avx512vl") != 0)
#define TEMPFLOW_CPU_HAS_F16C() /* clang 14 cannot be asked for it by name */             \
  ([] {                                                                                   \
    unsigned tempflow_a = 0, tempflow_b = 0, tempflow_c = 0, tempflow_d = 0;              \
    const int known = __get_cpuid(1, &tempflow_a, &tempflow_b, &tempflow_c, &tempflow_d); \
    return known != 0 && (tempflow_c & bit_F16C) != 0;                                    \
  }())
#else
#define TEMPFLOW_AVX2
#define TEMPFLOW_AVX512
#define TEMPFLOW_FLATTEN
#define TEMPFLOW_CPU_HAS_AVX2() false
#define TEMPFLOW_CPU_HAS_AVX512() false
#endif
#if defined(__x86_64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12))
#define TEMPFLOW_VECTOR_TYPES 1
#else
#define TEMPFLOW_VECTOR_TYPES 0
#endif

// TEMPFLOW_COMPILER, _OPTIMIZED, _FAST_MATH, _ASSERTS   what config_summary.hpp tells of this source.
#if defined(__clang__)
#define TEMPFLOW_COMPILER "clang++ " __clang_version__
#elif defined(__GNUC__)
#define TEMPFLOW_COMPILER "g++ " __VERSION__
#else
#define TEMPFLOW_COMPILER "unknown"
#endif
#if defined(__OPTIMIZE__)
#define TEMPFLOW_OPTIMIZED true
#else
#define TEMPFLOW_OPTIMIZED false
#endif
#if defined(__FAST_MATH__)
#define TEMPFLOW_FAST_MATH true
#else
#define TEMPFLOW_FAST_MATH false
#endif
#if defined(TEMPFLOW_ENABLE_ASSERTS)
#define TEMPFLOW_ASSERTS true
#else
#define TEMPFLOW_ASSERTS false
#endif

#if defined(TEMPFLOW_ENABLE_ASSERTS) && !defined(__CUDA_ARCH__)
#include <cstdio>
#include <cstdlib>
#define TEMPFLOW_ASSERT(condition)                                                                        \
  ((condition)                                                                                            \
       ? static_cast<void>(0)                                                                             \
       : (std::fprintf(stderr, "%s:%d: tempflow assertion failed: %s\n", __FILE__, __LINE__, #condition), \
          std::abort()))
#else
#define TEMPFLOW_ASSERT(condition) static_cast<void>(0)
#endif

// TEMPFLOW_NEEDS_BACKEND    adds an overload of an operation that any arguments fit, all others better: what is no backend does
//                           not compile, and is told what one is. (Not for what is also called without one, as summarize.)
//                           It returns auto, so that this is said before what the result is used for.
#define TEMPFLOW_NEEDS_BACKEND(OPERATION)                                                              \
  template <class B>                                                                                   \
    requires(!backend<B>)                                                                              \
  auto OPERATION(const B&, detail::any_argument, detail::any_argument, detail::any_argument = {},      \
                 detail::any_argument = {}, detail::any_argument = {}, detail::any_argument = {},      \
                 detail::any_argument = {}, detail::any_argument = {}, detail::any_argument = {},      \
                 detail::any_argument = {}) {                                                          \
    static_assert(backend<B>, #OPERATION                                                               \
                  " needs a backend as its first argument, such as cpu_backend: a copyable type with " \
                  "`arithmetic` and for_each_index(count, body) (backend/backend.hpp)");               \
  }                                                                                                    \
  static_assert(true)
