// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The gradients of a loss on their way to memory, on host backends.

#include <algorithm>
#include <concepts>
#include <cstddef>

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

/// Writes the gradients of a policy_loss_op.
template <class Op, storage_scalar T, storage_scalar G, class Real>
struct gradient_writer {
  const Op& op;
  bool streamed;  ///< past the caches

  /// compute(at) for elements [first, last) of state i.
  template <instruction_set Instructions, class Compute>
  TEMPFLOW_INLINE_HOST void write(index_t i, index_t first, index_t last, const Compute& compute) const {
    constexpr bool can_stream = visit_plan<Real, T, G, Instructions>::in_registers;
    if (can_stream && streamed) {
      write_elements<T, Real, Instructions, can_stream>(op.gradient.row(i), first, last, compute);
    } else {
      write_cached<Instructions>(i, first, last, compute);
    }
  }

  /// The same, always through the caches.
  template <instruction_set Instructions, class Compute>
  TEMPFLOW_INLINE_HOST void write_cached(index_t i, index_t first, index_t last,
                                         const Compute& compute) const {
    write_elements<T, Real, Instructions>(op.gradient.row(i), first, last, compute);
  }

  TEMPFLOW_INLINE_HOST void write_zeros(index_t i, index_t first, index_t last) const {
    write_elements<G, Real, instruction_set::portable>(op.gradient.row(i), first, last,
                                                       [](auto) TEMPFLOW_INLINE_LAMBDA { return Real{0}; });
  }

  /// Ends a state, of whose gradient something was written if it has parts.
  void finish(index_t i, bool has_parts) const {
    const auto rows =
        op.rows.subspan(static_cast<std::size_t>(op.of.first(i)), static_cast<std::size_t>(op.of.count(i)));
    if constexpr (std::same_as<G, float16>) {  // a loss scale that is too large for the type
      if (has_parts && !op.gradient.empty()) {
        const G* const written = op.gradient.row(i);
        const index_t elements = op.gradient.columns();
        if (!std::all_of(written, written + elements, [](G g) { return is_finite(load(g)); })) {
          write_zeros(i, 0, elements);
          for (policy_row& row : rows) row.finite = false;
        }
      }
    }
    for (policy_row& row : rows) {
      if (!row.finite) row.surrogate = not_a_number;  // seen in the mean loss
    }
  }

  void fence() const {
    if (streamed) stream_fence();
  }
};

}  // namespace tempflow::detail
