// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The version of the library. These three lines are its only source: CMake reads them too.

#define TEMPFLOW_VERSION_MAJOR 0
#define TEMPFLOW_VERSION_MINOR 1
#define TEMPFLOW_VERSION_PATCH 0

namespace tempflow {

/// Semantic version of these headers. Before 1.0 a new minor version may break its callers.
inline constexpr int version_major = TEMPFLOW_VERSION_MAJOR;
/// See version_major.
inline constexpr int version_minor = TEMPFLOW_VERSION_MINOR;
/// See version_major.
inline constexpr int version_patch = TEMPFLOW_VERSION_PATCH;

}  // namespace tempflow
