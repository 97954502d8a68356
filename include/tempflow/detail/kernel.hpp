// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The library's own kernels, compiled for more than one instruction set and chosen when they run, so that a caller
// who builds for the oldest x86-64 still gets AVX2. Their arithmetic spells out every fused multiply-add, hence the
// bits are the same in all versions.

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

/// The version of a kernel for this machine.
template <class Body>
indexed_call best_call() {
#if TEMPFLOW_X86_DISPATCH
  // flatten: everything the body calls is inlined, and so compiled for this instruction set.
  struct avx2 {
    [[gnu::target("avx2,fma"), gnu::flatten]] static void call(const void* context, index_t i) {
      (*static_cast<const Body*>(context))(i);
    }
  };
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  if (has_avx2) return &avx2::call;
#endif
  return &call_portable<Body>;
}

}  // namespace tempflow::detail
