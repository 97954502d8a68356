// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a backend is: a cheap value that says how rows are spread over the hardware, which arithmetic they are
// computed in, and where batches lie. Everything batched is written once over these concepts.
//
// A backend of your own, in ten lines: docs/backends.md.

#include <concepts>
#include <cstddef>
#include <string_view>
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

/// Runs batched operations.
///
/// `for_each_index(count, body)` calls body(i) once for each i in [0, count) in any order, possibly at the
/// same time, and returns when all are done (a device: when they are enqueued). `arithmetic` is one of the types
/// of core/arithmetic.hpp. To be as fast as cpu_backend, call dispatch(body) of backend/dispatch.hpp instead of
/// body.
template <class B>
concept backend = std::copyable<B> &&
    requires(const B& runs, index_t count, const detail::index_body_archetype& body) {
  typename B::arithmetic;
  runs.for_each_index(count, body);
};

/// A backend that tells how many threads share its work, so that few long rows are cut in parts for them.
template <class B>
concept parallel_backend = backend<B> && requires(const B& runs) {
  { runs.threads() } -> std::convertible_to<index_t>;
};

/// `using memory_space = device_memory;` in a backend whose batches lie in memory of its own. Without it they lie
/// in the host's.
struct device_memory {};

/// A backend with memory of its own: device_backend is one.
///
/// `make_buffer<T>(rows, columns)` owns such memory (T = float stands for all storage types here).
/// `host_reads(address)`: whether an argument there is read when an operation is called.
/// `check_host_waits(operation, result)` throws memory_error unless the host can wait for a result there.
/// `synchronize()` waits for all work.
template <class B>
concept device_memory_backend = backend<B> && std::same_as<typename B::memory_space, device_memory> &&
    requires(const B& runs, index_t extent, const void* address, std::string_view operation) {
  runs.template make_buffer<float>(extent, extent);
  { runs.host_reads(address) } -> std::same_as<bool>;
  runs.check_host_waits(operation, address);
  runs.synchronize();
};

/// A backend whose batches lie in host memory. It runs every operation of the library by for_each_index.
template <class B>
concept host_backend = backend<B> && !requires {
  typename B::memory_space;
};

/// A batch in the memory that a backend computes in, with nothing in it yet.
template <storage_scalar T, backend B>
auto make_buffer(const B& backend, index_t rows, index_t columns) {
  if constexpr (device_memory_backend<B>) {
    return backend.template make_buffer<T>(rows, columns);
  } else {
    return batch_buffer<T>(rows, columns, uninitialized);
  }
}

/// What make_buffer makes.
template <backend B, storage_scalar T>
using buffer_of = decltype(make_buffer<T>(std::declval<const B&>(), index_t{}, index_t{}));

}  // namespace tempflow
