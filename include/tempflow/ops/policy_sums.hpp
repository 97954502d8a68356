// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A loss in two calls: sums of each row, from which the host makes factors, and the gradient from those. For losses
// of which a row depends on others (GSPO's sequences, DPO's pairs), and for rows that lie on several devices, whose
// sums the host adds up between the calls:
//
//   policy_sums(backend, batch, v, v_ref, v_old, sums);         // and sums[i] += those of other devices
//   policy_scores(batch, objective, sums, rows, factors);       // or factors of your own
//   policy_gradient(backend, batch, v, v_ref, v_old, factors, gradient, rows);
//
// On one device these are the bits of policy_loss for objectives of means; an objective of the ratio has kernels of
// its own there, and its gradients agree to rounding. Results of a device are waited for before the host reads
// them. Traffic (fp32): policy_sums reads x, y, v and what is given of v_ref, v_old: 12 to 20 B per element;
// policy_gradient the same and writes 4.

#include <span>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/detail/policy_checks.hpp"
#include "tempflow/ops/detail/row_operations.hpp"
#include "tempflow/ops/host/run_row_loss.hpp"
#include "tempflow/ops/policy_batch.hpp"

namespace tempflow {
namespace detail {

/// The batches of a general loss, looked at.
template <class B, storage_scalar T, storage_scalar V>
row_inputs<T, V> make_row_inputs(std::string_view operation, const operation_arguments<B>& arguments,
                                 const policy_batch<T>& batch, const batch_view<const V>& v,
                                 const batch_view<const V>& v_ref, const batch_view<const V>& v_old) {
  if (batch.drawn) {
    throw shape_error(
        message(operation,
                ": needs y; noise in place of it goes with objectives of the ratio alone, without a mask"));
  }
  const siblings of = check_policy_states(operation, arguments, batch, v);
  check_other_velocity(operation, "v_ref", v_ref, v);
  check_other_velocity(operation, "v_old", v_old, v);
  check_mask(arguments, operation, batch.mask, v.rows(), v.columns());
  return {.x = batch.x,
          .y = batch.y,
          .v = v,
          .v_ref = is_given(v_ref) ? v_ref : v,
          .v_old = is_given(v_old) ? v_old : v,
          .has_reference = is_given(v_ref),
          .has_old = is_given(v_old),
          .of = of,
          .transitions = batch.transitions,
          .mask = batch.mask};
}

}  // namespace detail

/// sums[i] = the sums of row i; NaN are those of a velocity that is not given, and the last two without a mixture.
///
/// v: S x D. v_ref, v_old: S x D in the same type, or {}. sums: R. mixture: b of the last two sums, DiffusionNFT's.
/// Of the batch x, y, offsets, transitions (alpha and beta) and mask are read. Throws shape_error, memory_error and
/// schedule_error as policy_loss. Derivation: docs/maths.md.
template <backend B, storage_scalar T, velocities_for<T> V>
TEMPFLOW_HIDDEN void policy_sums(const B& backend, const policy_batch<T>& batch, V&& v,
                                 input_batch<storage_of<V>> v_ref, input_batch<storage_of<V>> v_old,
                                 std::span<row_sums> sums, double mixture = 0) {
  const detail::operation_arguments arguments(backend);
  const auto in = detail::make_row_inputs("policy_sums", arguments, batch, detail::as_input(v), v_ref, v_old);
  detail::check_size("policy_sums", "sums", sums.size(), in.of.rows());
  detail::check_transitions(arguments, "policy_sums", batch.transitions, in.of.states(), false);
  if (!is_finite(mixture)) throw value_error(detail::message("policy_sums: mixture = ", mixture));
  detail::execute(arguments, detail::row_sums_op<T, storage_of<V>>{in, mixture, sums});
}

TEMPFLOW_NEEDS_BACKEND(policy_sums);

}  // namespace tempflow
