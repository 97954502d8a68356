// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Typed errors. Every public operation checks its arguments before it writes anything, so an exception
// means that the outputs are as they were.

#include <charconv>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {

/// Base of every exception the library throws.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Extents that do not fit together: the message names both.
class shape_error : public error {
 public:
  using error::error;
};

/// A number that its formula cannot take (not finite, out of range): the message names argument, index and
/// value.
class value_error : public error {
 public:
  using error::error;
};

/// A sigma grid or a transition that no sampler can follow (not descending, no noise where noise is needed).
class schedule_error : public error {
 public:
  using error::error;
};

/// A group of samples that an estimator cannot use (empty, duplicated identity).
class group_error : public error {
 public:
  using error::error;
};

/// Memory that a backend does not reach, or too little of it.
class memory_error : public error {
 public:
  using error::error;
};

namespace detail {

/// Shortest text that reads back as the same number.
inline std::string to_text(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  return {buffer, end};
}

inline std::string to_text(index_t value) { return std::to_string(value); }

inline std::string to_text(std::string_view value) { return std::string(value); }

template <class Part>
void append_to(std::string& text, const Part& part) {
  if constexpr (std::is_floating_point_v<Part>) {
    text += to_text(static_cast<double>(part));
  } else if constexpr (std::is_integral_v<Part>) {
    text += to_text(static_cast<index_t>(part));
  } else {
    text += to_text(std::string_view(part));
  }
}

/// Joins texts and numbers into a message. By value: else each length of a literal would be a type, and each call be compiled.
template <class... Parts>
std::string message(Parts... parts) {
  std::string text;
  (append_to(text, parts), ...);
  return text;
}

}  // namespace detail
}  // namespace tempflow
