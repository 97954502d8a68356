// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a backend is: a cheap value that says how rows are spread over the hardware and which arithmetic they
// are computed in. Everything batched is written once over these two.

#include <concepts>
#include <utility>

#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {
namespace detail {

/// Stand-in for a body in the concept below (nvcc evaluates lambdas in requires-expressions to false).
struct index_body_archetype {
  void operator()(index_t) const {}
};

}  // namespace detail

/// A place where batched operations run.
///
/// `for_each_index(count, body)` calls body(i) once for each i in [0, count) in any order, possibly at the
/// same time, and returns when all are done. `arithmetic` is one of the types of core/arithmetic.hpp.
template <class B>
concept backend = std::copyable<B> &&
    requires(const B& place, index_t count, const detail::index_body_archetype& body) {
  typename B::arithmetic;
  place.for_each_index(count, body);
};

/// A batch of zeros in the memory that a backend computes in: a batch_buffer, or the backend's own kind.
template <storage_scalar T, backend B>
auto make_buffer(const B& place, index_t rows, index_t columns) {
  if constexpr (requires { place.template make_buffer<T>(rows, columns); }) {
    return place.template make_buffer<T>(rows, columns);
  } else {
    return batch_buffer<T>(rows, columns);
  }
}

/// What make_buffer makes.
template <backend B, storage_scalar T>
using buffer_of = decltype(make_buffer<T>(std::declval<const B&>(), index_t{}, index_t{}));

}  // namespace tempflow
