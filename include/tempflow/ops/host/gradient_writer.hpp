// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The gradients of a loss on their way to memory, on host backends.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tempflow/core/numeric.hpp"
#include "tempflow/objective/policy_statistics.hpp"
#include "tempflow/ops/host/row.hpp"

namespace tempflow::detail {

/// What the gradient of a state is made of.
template <class Real>
struct policy_state {
  index_t parts = 0;         ///< the first of its rows': one for each transition that counts
  Real reference_slope = 0;  ///< of v - v_ref, for each of them
};

/// Whether none of the numbers is infinite or NaN: has an exponent of ones. Four in a word; a carry stays in its number.
inline bool all_finite(const float16* numbers, index_t count) {
  std::uint64_t found = 0;
  index_t e = 0;
  for (; e + 4 <= count; e += 4) {
    std::uint64_t four = 0;
    std::memcpy(&four, numbers + e, sizeof four);
    found |= (four & 0x7c007c007c007c00u) + 0x0400040004000400u;
  }
  for (; e < count; ++e) found |= (numbers[e].bits & 0x7c00u) + 0x0400u;
  return (found & 0x8000800080008000u) == 0;
}

/// Writes the gradients of a policy_loss_op, from rows stored as Rows.
template <class Op, class Real, storage_scalar G, storage_scalar... Rows>
struct gradient_writer {
  const Op& op;
  bool streamed;  ///< past the caches

  /// compute(at) for elements [first, last) of state i.
  template <instruction_set Instructions, class Compute>
  TEMPFLOW_INLINE_HOST void write(index_t i, index_t first, index_t last, const Compute& compute) const {
    constexpr bool can_stream = visit_plan<Real, Instructions, G, Rows...>::in_registers;
    if (can_stream && streamed) {
      write_elements<Real, Instructions, can_stream, Rows...>(op.gradient.row(i), first, last, compute);
    } else {
      write_cached<Instructions>(i, first, last, compute);
    }
  }

  /// The same, always through the caches.
  template <instruction_set Instructions, class Compute>
  TEMPFLOW_INLINE_HOST void write_cached(index_t i, index_t first, index_t last,
                                         const Compute& compute) const {
    write_elements<Real, Instructions, false, Rows...>(op.gradient.row(i), first, last, compute);
  }

  TEMPFLOW_INLINE_HOST void write_zeros(index_t i, index_t first, index_t last) const {
    std::fill(op.gradient.row(i) + first, op.gradient.row(i) + last, G{});
  }

  /// Ends a state, of whose gradient something was written if it has parts.
  void finish(index_t i, bool has_parts) const {
    const auto rows =
        op.rows.subspan(static_cast<std::size_t>(op.of.first(i)), static_cast<std::size_t>(op.of.count(i)));
    if constexpr (std::same_as<G, float16>) {  // a loss scale that is too large for the type
      if (has_parts && !op.gradient.empty()) {
        const index_t elements = op.gradient.columns();
        if (!all_finite(op.gradient.row(i), elements)) {
          write_zeros(i, 0, elements);
          for (policy_row& row : rows) row.finite = 0;
        }
      }
    }
    for (policy_row& row : rows) {
      if (row.finite == 0) row.surrogate = not_a_number;  // seen in the mean loss
    }
  }

  void fence() const {
    if (streamed) stream_fence();
  }
};

}  // namespace tempflow::detail
