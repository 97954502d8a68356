// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What an operation draws its noise from: a stream, and each row's identity in it.

#include <cstddef>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/core/stream_value.hpp"

namespace tempflow {

/// `step(backend, x, v, transition, {key, ids}, y, log_probs)`: the same key and id draw the same noise in
/// every call. ids: one per row of the batch.
///
/// A key may lie in device memory, so that a captured update draws new noise in each replay. Antithetic draws
/// come in pairs: the noise of an odd branch is minus that of the even branch before it. Each is normal, and what
/// is odd in the noise cancels in their mean.
///
/// A batch may be a part of longer rows (a shard of one process, a modality, a chunk of actions): its element e
/// then takes the noise of element first + e, so that the parts have the noise of the whole. first: a multiple of
/// 4, not negative.
struct noise_source {
  stream_value<noise_key> key;
  per_row<noise_id> ids;
  bool antithetic;
  index_t first_element;  ///< of the batch's elements in the rows that the noise is of

  noise_source(const noise_key& of, per_row<noise_id> rows, bool antithetic_pairs = false, index_t first = 0)
      : key(of), ids(rows), antithetic(antithetic_pairs), first_element(first) {}
  noise_source(const noise_key* at, per_row<noise_id> rows, bool antithetic_pairs = false, index_t first = 0)
      : key(at), ids(rows), antithetic(antithetic_pairs), first_element(first) {}
  noise_source(stream_value<noise_key> of, per_row<noise_id> rows, bool antithetic_pairs = false,
               index_t first = 0)
      : key(of), ids(rows), antithetic(antithetic_pairs), first_element(first) {}
  noise_source(std::nullptr_t, per_row<noise_id>, bool = false, index_t = 0) = delete;

  /// The noise of a part of these rows that begins at element `first` of the batch.
  noise_source part_from(index_t first) const {
    noise_source part = *this;
    part.first_element += first;
    return part;
  }
};

namespace detail {

/// What a row draws: the normals of an identity, or minus these.
struct noise_draw {
  noise_id id;
  bool negated;

  TEMPFLOW_HD constexpr noise_draw(noise_id of, bool antithetic)
      : id(of), negated(antithetic && of.branch % 2 != 0) {
    if (negated) --id.branch;
  }
};

}  // namespace detail

}  // namespace tempflow
