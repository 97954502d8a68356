// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What an operation draws its noise from: a stream, and each row's identity in it.

#include "tempflow/core/noise.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/core/stream_value.hpp"

namespace tempflow {

/// `step(backend, x, v, transition, {key, ids}, y, log_probs)`: the same key and id draw the same noise in every
/// call. ids: one per row of the batch.
///
/// A key may lie in device memory, so that a captured update draws new noise in each replay.
struct noise_source {
  stream_value<noise_key> key;
  per_row<noise_id> ids;
};

}  // namespace tempflow
