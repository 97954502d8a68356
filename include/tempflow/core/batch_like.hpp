// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A batch as operations take it: a view, or a buffer that owns its elements.

#include <type_traits>
#include <utility>

#include "tempflow/core/batch_view.hpp"

namespace tempflow {

/// The view of a batch: itself, or all of a buffer. A temporary buffer has none, it would take its elements
/// with it.
template <class T>
constexpr batch_view<T> as_view(batch_view<T> batch) {
  return batch;
}
template <class Buffer>
  requires requires(Buffer&& buffer) { std::forward<Buffer>(buffer).view().row_stride(); }
constexpr auto as_view(Buffer&& buffer) { return std::forward<Buffer>(buffer).view(); }

namespace detail {

template <class View>
inline constexpr bool is_batch_view = false;
template <class T>
inline constexpr bool is_batch_view<batch_view<T>> = true;

}  // namespace detail

/// A batch_view, a batch_buffer, a device_buffer, or anything else with a view() that is a batch_view.
template <class X>
concept batch_like = requires(X&& batch) {
  requires detail::is_batch_view<decltype(as_view(std::forward<X>(batch)))>;
};

/// A batch whose elements an operation may write.
template <class X>
concept writable_batch =
    batch_like<X> && !std::is_const_v<typename decltype(as_view(std::declval<X>()))::element_type>;

/// What a batch is stored as.
template <batch_like X>
using storage_of = typename decltype(as_view(std::declval<X>()))::value_type;

namespace detail {

/// A batch, to be read.
template <batch_like X>
constexpr batch_view<const storage_of<X>> as_input(X&& batch) {
  return as_view(std::forward<X>(batch));
}

}  // namespace detail

/// A batch that an operation reads, of a storage type that an argument before it decided.
template <class T>
using input_batch = std::type_identity_t<batch_view<const T>>;

/// A batch of velocities for states stored as T.
template <class V, class T>
concept velocities_for = batch_like<V> && computes_with<storage_of<V>, T>;

/// A batch that an operation writes.
template <class T>
using output_batch = std::type_identity_t<batch_view<T>>;

}  // namespace tempflow
