// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The library's errors as text for Python, and arguments that name one of several things.

#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "tempflow/core/error.hpp"

namespace tempflow::python {

/// Runs an operator. Errors of the library reach Python as text; the type goes first, for tempflow/errors.py to raise.
template <class F>
auto typed(const F& run) {
  const auto named = [](const char* type, const std::exception& e) {
    return std::runtime_error(std::string("tempflow.") + type + ": " + e.what());
  };
  try {
    return run();
  } catch (const shape_error& e) {
    throw named("ShapeError", e);
  } catch (const schedule_error& e) {
    throw named("ScheduleError", e);
  } catch (const group_error& e) {
    throw named("GroupError", e);
  } catch (const memory_error& e) {
    throw named("MemoryError", e);
  } catch (const value_error& e) {
    throw named("InvalidValueError", e);
  } catch (const error& e) {
    throw named("TempflowError", e);
  } catch (const std::bad_alloc& e) {
    throw named("MemoryError", e);
  } catch (const std::length_error& e) {
    throw named("MemoryError", e);
  }
}

/// The entry of that name.
template <class E, std::size_t N>
E choice(std::string_view operation, std::string_view argument, std::string_view name,
         const std::pair<std::string_view, E> (&entries)[N]) {
  std::string known;
  for (const auto& [key, value] : entries) {
    if (key == name) return value;
    known += detail::message(known.empty() ? "" : ", ", key);
  }
  throw value_error(detail::message(operation, ": ", argument, " = '", name, "', must be one of ", known));
}

}  // namespace tempflow::python
