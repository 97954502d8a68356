// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A number that an operation reads when it runs, not when it is called.
//
// An operation that is captured into a CUDA graph keeps the values of its arguments for all replays. What
// should change from replay to replay (a noise key, a decay) lies in the device's memory instead, where a
// kernel of the host's, or a copy in the graph, writes it.

#include <concepts>
#include <cstddef>
#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/error.hpp"

namespace tempflow {

namespace detail {

template <class Number, class T>
concept number_for = std::is_arithmetic_v<Number> && std::convertible_to<Number, T>;

}  // namespace detail

/// A value, or the address at which it will lie in stream order: device or pinned memory for a device, any
/// for a host. The address must stay valid until the operation has run. A value in host memory is read at the
/// call.
template <class T>
class stream_value {
 public:
  stream_value(const T& value = {}) : value_(value) {}

  /// A number of another type; without it, 0 might be an address too.
  template <detail::number_for<T> Number>
  stream_value(Number value) : value_(static_cast<T>(value)) {}

  /// Throws value_error for a null pointer.
  stream_value(const T* address) : address_(address) {
    if (address == nullptr) throw value_error("stream_value: null pointer");
  }
  stream_value(std::nullptr_t) = delete;

  /// Null for a value that is given.
  const T* address() const { return address_; }

  TEMPFLOW_HD T operator*() const { return address_ != nullptr ? *address_ : value_; }

 private:
  T value_{};
  const T* address_ = nullptr;
};

}  // namespace tempflow
