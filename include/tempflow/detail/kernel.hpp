// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The library's own kernels, compiled for more than one instruction set and chosen when they run, so that a
// caller who builds for the oldest x86-64 still gets AVX2. Their arithmetic spells out every fused
// multiply-add, hence the bits are the same in all versions.

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/instruction_set.hpp"

namespace tempflow::detail {

/// Marks the library's bodies for for_each_index: `using kernel_tag = kernel;`. They also tell roughly how
/// many nanoseconds() an index takes.
struct kernel {};

template <class Body>
concept is_kernel = requires {
  typename Body::kernel_tag;
};

/// Calls body(i); `context` is the body.
using indexed_call = void (*)(const void* context, index_t i);

/// body(i), or body(i, instructions) for a body that asks which instructions it is compiled for.
template <class Body, instruction_set Instructions>
TEMPFLOW_INLINE_HOST void call(const void* context, index_t i) {
  const Body& body = *static_cast<const Body*>(context);
  if constexpr (requires { body(i, compiled_for<Instructions>{}); }) {
    body(i, compiled_for<Instructions>{});
  } else {
    body(i);
  }
}
template <class Body>
void call_portable(const void* context, index_t i) {
  call<Body, instruction_set::portable>(context, i);
}
template <class Body>
TEMPFLOW_AVX2 TEMPFLOW_FLATTEN void call_avx2(const void* context, index_t i) {
  call<Body, instruction_set::avx2>(context, i);
}
template <class Body>
TEMPFLOW_AVX512 TEMPFLOW_FLATTEN void call_avx512(const void* context, index_t i) {
  call<Body, instruction_set::avx512>(context, i);
}

/// The version of a kernel for the given instructions.
template <class Body>
indexed_call call_version(instruction_set instructions) {
  switch (instructions) {
    case instruction_set::avx512: return &call_avx512<Body>;
    case instruction_set::avx2: return &call_avx2<Body>;
    default: return &call_portable<Body>;
  }
}

}  // namespace tempflow::detail
