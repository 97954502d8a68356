// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a bug report needs to know of a build.

#include <string>
#include <thread>

#include "tempflow/config.hpp"
#include "tempflow/core/instruction_set.hpp"
#include "tempflow/version.hpp"

namespace tempflow {

/// The library, the compiler and its modes, and the processor, in lines for a bug report:
///
///     tempflow 0.1.0
///     compiler: g++ 12.2.0, __cplusplus 202002, optimised, fast-math off, vector types on, asserts off
///     processor: avx2, 2 hardware threads
///
/// Tells of the source that calls it, whose flags other sources of the program need not share.
[[maybe_unused]] static std::string config_summary() {
  const auto mode = [](const char* name, bool on) {
    return std::string(", ") + name + (on ? " on" : " off");
  };
  const auto number = [](auto value) { return std::to_string(value); };
  return "tempflow " + number(version_major) + '.' + number(version_minor) + '.' + number(version_patch) +
         "\ncompiler: " TEMPFLOW_COMPILER ", __cplusplus " + number(TEMPFLOW_CPLUSPLUS) +
         (TEMPFLOW_OPTIMIZED ? ", optimised" : ", not optimised") + mode("fast-math", TEMPFLOW_FAST_MATH) +
         mode("vector types", TEMPFLOW_VECTOR_TYPES) + mode("asserts", TEMPFLOW_ASSERTS) +
         "\nprocessor: " + to_string(best_instruction_set()) + ", " +
         number(std::thread::hardware_concurrency()) + " hardware threads\n";
}

}  // namespace tempflow
