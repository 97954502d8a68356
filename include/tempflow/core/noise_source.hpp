// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What an operation draws its noise from: a stream, and each row's identity in it.

#include <cstddef>

#include "tempflow/core/noise.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/core/stream_value.hpp"

namespace tempflow {

/// `step(backend, x, v, transition, {key, ids}, y, log_probs)`: the same key and id draw the same noise in
/// every call. ids: one per row of the batch.
///
/// A key may lie in device memory, so that a captured update draws new noise in each replay.
struct noise_source {
  stream_value<noise_key> key;
  per_row<noise_id> ids;

  noise_source(const noise_key& of, per_row<noise_id> rows) : key(of), ids(rows) {}
  noise_source(const noise_key* at, per_row<noise_id> rows) : key(at), ids(rows) {}
  noise_source(stream_value<noise_key> of, per_row<noise_id> rows) : key(of), ids(rows) {}
  noise_source(std::nullptr_t, per_row<noise_id>) = delete;
};

}  // namespace tempflow
