// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The second call of a loss in two calls (policy_sums.hpp): dL/dv from the factors of each row.

#include <concepts>
#include <span>

#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/policy_sums.hpp"

namespace tempflow {

/// Writes, for each state, the sum over the rows i that leave it of
///
///   factors[i].residual r_i + factors[i].reference (v - v_ref) + factors[i].old (v - v_old)
///
/// v: S x D. v_ref, v_old: S x D in the same type, or {} where no factor wants them. factors: R, finite. gradient:
/// S x D in any storage type; it may be one of the inputs as in policy_loss. rows: R, in which a state whose
/// gradient overflows is marked by finite = 0 and gets zeros; or {}, but not for fp16. A row's y is not read where
/// its factor of r is 0.
///
/// Throws shape_error, memory_error and schedule_error as policy_loss, value_error for a factor that is not finite.
/// Factors in device memory are not looked at. Source: docs/maths.md.
template <backend B, storage_scalar T, velocities_for<T> V, writable_batch Gradient>
TEMPFLOW_HIDDEN void policy_gradient(const B& backend, const policy_batch<T>& batch, V&& v,
                                     input_batch<storage_of<V>> v_ref, input_batch<storage_of<V>> v_old,
                                     std::span<const row_factors> factors, Gradient&& gradient,
                                     std::span<policy_row> rows = {}) {
  constexpr auto operation = "policy_gradient";
  using G = storage_of<Gradient>;
  const detail::operation_arguments arguments(backend);
  const auto velocity = detail::as_input(v);
  const batch_view<G> to = as_view(gradient);
  const auto in = detail::make_row_inputs(operation, arguments, batch, velocity, v_ref, v_old);
  detail::check_shape(operation, "gradient", to, velocity.rows(), velocity.columns());
  detail::check_policy_gradient(operation, in.of, batch, velocity, v_ref, to);
  detail::check_same_or_apart(operation, "gradient", to, "v_old", v_old);
  detail::check_size(operation, "factors", factors.size(), in.of.rows());
  if (!rows.empty() || std::same_as<G, float16>)
    detail::check_size(operation, "rows", rows.size(), in.of.rows());
  detail::check_transitions(arguments, operation, batch.transitions, in.of.states(), false);
  if (arguments.host_reads(factors.data())) {
    const auto check_factor = [&](std::size_t row, const char* name, double factor, bool is_given) {
      if (!is_finite(static_cast<compute_t<T>>(factor))) {
        throw value_error(detail::message(operation, ": factors[", row, "].", name, " = ", factor));
      }
      if (factor != 0 && !is_given) {
        throw shape_error(detail::message(operation, ": factors[", row, "].", name, " = ", factor,
                                          ", and its velocity is not given"));
      }
    };
    for (std::size_t i = 0; i < factors.size(); ++i) {
      check_factor(i, "residual", factors[i].residual, true);
      check_factor(i, "reference", factors[i].reference, detail::is_given(v_ref));
      check_factor(i, "old", factors[i].old, detail::is_given(v_old));
    }
  }
  detail::execute(arguments, detail::row_gradient_op<T, storage_of<V>, G>{in, in.of, factors, to, rows});
}

TEMPFLOW_NEEDS_BACKEND(policy_gradient);

}  // namespace tempflow
