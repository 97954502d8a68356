// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The library's own kernels, compiled for more than one instruction set and chosen when they run, so that a
// caller who builds for the oldest x86-64 still gets AVX2. Their arithmetic spells out every fused
// multiply-add, hence the bits are the same in all versions.

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow::detail {

/// Marks the library's bodies for for_each_index: `using kernel_tag = kernel;`.
struct kernel {};

template <class Body>
concept is_kernel = requires {
  typename Body::kernel_tag;
};

/// Calls body(i); `context` is the body.
using indexed_call = void (*)(const void* context, index_t i);

template <class Body>
void call_portable(const void* context, index_t i) {
  (*static_cast<const Body*>(context))(i);
}

template <class Body>
TEMPFLOW_AVX2_VERSION void call_avx2(const void* context, index_t i) {
  (*static_cast<const Body*>(context))(i);
}

/// The version of a kernel for this machine.
template <class Body>
indexed_call best_call() {
  static const bool has_avx2 = TEMPFLOW_CPU_HAS_AVX2();
  return has_avx2 ? &call_avx2<Body> : &call_portable<Body>;
}

}  // namespace tempflow::detail
