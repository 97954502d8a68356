// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a backend is: a cheap value that says how rows are spread over the hardware, which arithmetic they are
// computed in, and where batches lie. Everything batched is written once over these concepts.
//
// A backend of your own: docs/backends.md.

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

/// Runs batched operations.
///
/// `for_each_index(count, body)` calls body(i) once for each i in [0, count) in any order, possibly at the
/// same time, and returns when all are done (a device: when they are enqueued). `arithmetic` is one of the
/// types of core/arithmetic.hpp. To be as fast as cpu_backend, call dispatch(body) of backend/dispatch.hpp
/// instead of body.
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

/// `using memory_space = device_memory;` in a backend whose batches lie in memory of its own. Without it they
/// lie in the host's.
struct device_memory {};

/// Where an address lies.
enum class memory_kind {
  host,     ///< memory that the device does not reach
  pinned,   ///< host memory that the device reaches
  managed,  ///< memory of both
  device,   ///< memory that the host does not reach
};

/// A backend with memory of its own: device_backend is one.
///
/// `make_buffer<T>(rows, columns)` and `make_zeros<T>` own such memory (T = float stands for all storage
/// types here); their buffers have what device_buffer has.
/// `memory_of(address)`: where that lies. `capturing()`: whether work is being captured, so that nothing can
/// wait for it. `synchronize()` waits for all work.
template <class B>
concept device_memory_backend = backend<B> && std::same_as<typename B::memory_space, device_memory> &&
    requires(const B& runs, index_t extent, const void* address) {
  { runs.template make_buffer<float>(extent, extent).rows() } -> std::convertible_to<index_t>;
  { runs.template make_zeros<float>(extent, extent).rows() } -> std::convertible_to<index_t>;
  { runs.memory_of(address) } -> std::same_as<memory_kind>;
  { runs.capturing() } -> std::same_as<bool>;
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
    static_assert(host_backend<B>,
                  "tempflow: a backend with a memory_space must model device_memory_backend");
    return batch_buffer<T>(rows, columns, uninitialized);
  }
}

/// What make_buffer makes.
template <backend B, storage_scalar T>
using buffer_of = decltype(make_buffer<T>(std::declval<const B&>(), index_t{}, index_t{}));

}  // namespace tempflow
