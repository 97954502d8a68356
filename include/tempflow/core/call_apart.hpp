// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Parts of kernels that are functions of their own.

#include "tempflow/config.hpp"
#include "tempflow/core/instruction_set.hpp"

namespace tempflow::detail {

/// A body in the instructions of its caller, as a function of its own: a text that several kernels share is
/// compiled once for each of the instruction sets.
template <class Body>
TEMPFLOW_NOINLINE void call_apart_portable(const Body& body) {
  body(compiled_for<instruction_set::portable>{});
}
template <class Body>
TEMPFLOW_NOINLINE TEMPFLOW_AVX2 TEMPFLOW_FLATTEN void call_apart_avx2(const Body& body) {
  body(compiled_for<instruction_set::avx2>{});
}
template <class Body>
TEMPFLOW_NOINLINE TEMPFLOW_AVX512 TEMPFLOW_FLATTEN void call_apart_avx512(const Body& body) {
  body(compiled_for<instruction_set::avx512>{});
}
template <instruction_set Instructions, class Body>
TEMPFLOW_INLINE_HOST void call_apart(const Body& body) {
  if constexpr (Instructions == instruction_set::avx512) {
    call_apart_avx512(body);
  } else if constexpr (Instructions == instruction_set::avx2) {
    call_apart_avx2(body);
  } else {
    call_apart_portable(body);
  }
}

}  // namespace tempflow::detail
