// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The processor's instructions that the library's kernels are compiled for, whatever flags its user compiles
// with, and chosen from when they run. The choice changes speed, never a bit.

#include <type_traits>

#include "tempflow/config.hpp"

namespace tempflow {

/// What the kernels of the cpu backend may be compiled for, from the least to the most able.
enum class instruction_set {
  portable,  ///< what the user's flags allow, on any processor
  avx2,      ///< x86-64 with AVX2, FMA and F16C
  avx512     ///< x86-64 with AVX-512 F, BW, DQ and VL
};

/// The best instructions of this processor.
inline instruction_set best_instruction_set() {
  // Asked once: under a hypervisor a question to the processor takes microseconds.
  static const instruction_set best = TEMPFLOW_CPU_HAS_AVX512() ? instruction_set::avx512
                                      : TEMPFLOW_CPU_HAS_AVX2() ? instruction_set::avx2
                                                                : instruction_set::portable;
  return best;
}

/// The name of an instruction set, such as "avx2".
constexpr const char* to_string(instruction_set instructions) {
  switch (instructions) {
    case instruction_set::avx512: return "avx512";
    case instruction_set::avx2: return "avx2";
    default: return "portable";
  }
}

namespace detail {

/// Tells a kernel which instructions it is being compiled for.
template <instruction_set Instructions>
using compiled_for = std::integral_constant<instruction_set, Instructions>;
using compiled_for_any = compiled_for<instruction_set::portable>;

}  // namespace detail
}  // namespace tempflow
