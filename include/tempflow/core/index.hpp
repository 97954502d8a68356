// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one index type. Always 64 bit: no macro changes it.

#include <cstdint>

namespace tempflow {

/// Counts, extents and positions everywhere in the library.
using index_t = std::int64_t;

}  // namespace tempflow
