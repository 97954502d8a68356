// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The threads that a kernel is launched with: blocks of warps of 32, and clusters of blocks.

#include "tempflow/core/index.hpp"

namespace tempflow {

/// A grid of thread blocks.
struct launch_shape {
  index_t blocks = 0;
  int warps = 1;            ///< of a block
  int cluster = 1;          ///< neighbouring blocks that reach each other's shared memory
  index_t shared_bytes = 0; ///< of a block
};

/// Lanes of a warp.
inline constexpr int warp_lanes = 32;

}  // namespace tempflow
