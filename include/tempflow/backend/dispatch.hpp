// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The library's own bodies for for_each_index, compiled for more than one instruction set and chosen when
// they run, so that a caller who builds for the oldest x86-64 still gets AVX2. Their arithmetic spells out
// every fused multiply-add, hence the bits are the same in all versions.
//
// For backends: `const auto call = dispatch(body);` and then call(i) for each index, on any thread.

#include <concepts>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/instruction_set.hpp"

namespace tempflow {
namespace detail {

/// Marks the library's bodies: `using kernel_tag = kernel;`.
struct kernel {};

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

}  // namespace detail

/// A body of the library's own: it is compiled for every instruction set, and estimates what an index takes.
template <class Body>
concept library_body = requires(const Body& body) {
  typename Body::kernel_tag;
  { body.nanoseconds() } -> std::convertible_to<double>;
};

/// A body in the version for some instructions. Refers to the body.
class dispatched_body {
 public:
  dispatched_body(detail::indexed_call call, const void* body) : call_(call), body_(body) {}

  void operator()(index_t i) const { call_(body_, i); }

 private:
  detail::indexed_call call_;
  const void* body_;
};

/// The version of a body for the given instructions, which this processor must have. A body that is not the
/// library's is called as its own file was compiled.
template <class Body>
dispatched_body dispatch(const Body& body, instruction_set instructions = best_instruction_set()) {
  if constexpr (library_body<Body>) {
    if (instructions == instruction_set::avx512) return {&detail::call_avx512<Body>, &body};
    if (instructions == instruction_set::avx2) return {&detail::call_avx2<Body>, &body};
  }
  return {&detail::call_portable<Body>, &body};
}

/// A temporary would be gone before it is called.
template <class Body>
void dispatch(const Body&& body, instruction_set instructions = best_instruction_set()) = delete;

/// Nanoseconds that an index of a body takes on one thread, roughly, for backends that share work only where
/// it is worth it; `unknown` for a body that is not the library's.
template <class Body>
double estimated_nanoseconds(const Body& body, double unknown) {
  if constexpr (library_body<Body>) return static_cast<double>(body.nanoseconds());
  return unknown;
}

}  // namespace tempflow
