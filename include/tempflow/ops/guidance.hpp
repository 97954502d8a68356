// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Classifier-free guidance of two predictions, and its gradient with respect to both.
//
// Traffic (fp32): guide reads both and writes the velocity, 12 B per element; guide_gradient reads g and writes both
// gradients, 12 B, and with norms reads both predictions too, 20 B. Bound by memory.

#include <string_view>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/guidance.hpp"

namespace tempflow {

/// How a conditional and an unconditional (or negative) prediction become one.
struct guidance_options {
  per_row<double> scale = 1.0;  ///< w, one for all rows or one for each; 1: the conditional one
  index_t channels =
      0;  ///< 0: linear. Else each token, this many neighbours, keeps the norm of the conditional
};

namespace detail {

template <class B>
void check_guidance(const operation_arguments<B>& arguments, std::string_view operation,
                    const guidance_options& options, index_t rows, index_t columns) {
  if (options.channels < 0) {
    throw value_error(message(operation, ": channels = ", options.channels, ", must not be negative"));
  }
  if (options.channels > 0 && columns % options.channels != 0) {
    throw shape_error(message(operation, ": ", columns, " elements per row are no tokens of ",
                              options.channels, " channels"));
  }
  check_finite(arguments, operation, "scale", options.scale, rows);
  if (!arguments.host_reads(options.scale.data())) return;
  for (index_t i = 0; i < rows; ++i) {
    if (!is_finite(static_cast<float>(options.scale[i]))) {
      throw value_error(message(operation, ": scale[", i, "] = ", options.scale[i], ", too large for fp32"));
    }
  }
}

}  // namespace detail

/// Writes the guided velocity of each row: m = u + w (c - u), and with options.channels per token v = m |c| / |m|.
///
/// conditional (c), unconditional (u), guided: B x D, D a multiple of the channels; guided may be stored as another
/// type, and may be c or u. A token with |m| = 0 or |c| = 0 becomes 0. Squares are added in fp32 (in fp64 for double):
/// there a norm below 4e-23 is 0, and one above 1.8e19 infinite.
///
/// Throws shape_error for extents that differ, or are no tokens, or batches that overlap, value_error for a scale
/// that is not finite. Source: Ho and Salimans, arXiv 2207.12598; norms: diffusers, QwenImagePipeline
/// (true_cfg_scale).
template <backend B, batch_like C, writable_batch V, storage_scalar T = storage_of<C>>
requires computes_with<storage_of<V>, T> TEMPFLOW_HIDDEN void guide(const B& backend, C&& conditional,
                                                                    input_batch<T> unconditional,
                                                                    const guidance_options& options,
                                                                    V&& guided) {
  const auto c = detail::as_input(conditional);
  const batch_view<storage_of<V>> to = as_view(guided);
  detail::check_shape("guide", "unconditional", unconditional, c.rows(), c.columns());
  detail::check_shape("guide", "guided", to, c.rows(), c.columns());
  detail::check_same_or_apart("guide", "guided", to, "conditional", c);
  detail::check_same_or_apart("guide", "guided", to, "unconditional", unconditional);
  const detail::operation_arguments arguments(backend);
  detail::check_guidance(arguments, "guide", options, c.rows(), c.columns());
  detail::execute(arguments,
                  detail::guide_op<T, storage_of<V>>{c, unconditional, to, options.scale, options.channels});
}

/// Writes dL/dc and dL/du, given g = dL/dv: exact through both norms.
///
/// gradient (g), conditional, unconditional, of_conditional, of_unconditional: B x D. Linear guidance reads neither
/// prediction: they may be {}. An output may be empty (a batch_view without elements, {}) where it is not wanted, or be
/// one of the inputs. Tokens with |m| = 0 or |c| = 0, where the norm has no derivative, have gradients of 0.
///
/// Throws as guide does, and shape_error for outputs that share memory.
template <backend B, batch_like L, writable_batch G, storage_scalar T = storage_of<L>>
requires computes_with<storage_of<G>, T> TEMPFLOW_HIDDEN void guide_gradient(
    const B& backend, L&& gradient, input_batch<T> conditional, input_batch<T> unconditional,
    const guidance_options& options, G&& of_conditional, output_batch<storage_of<G>> of_unconditional) {
  constexpr std::string_view operation = "guide_gradient";
  const auto g = detail::as_input(gradient);
  const batch_view<storage_of<G>> of_c = as_view(of_conditional), of_u = of_unconditional;
  const auto check_input = [&](std::string_view name, const auto& batch) {
    if (options.channels == 0 && !detail::is_given(batch)) return;
    detail::check_shape(operation, name, batch, g.rows(), g.columns());
  };
  const auto check_output = [&](std::string_view name, const auto& batch) {
    if (!detail::is_given(batch)) return;
    detail::check_shape(operation, name, batch, g.rows(), g.columns());
    detail::check_same_or_apart(operation, name, batch, "gradient", g);
    detail::check_same_or_apart(operation, name, batch, "conditional", conditional);
    detail::check_same_or_apart(operation, name, batch, "unconditional", unconditional);
  };
  check_input("conditional", conditional);
  check_input("unconditional", unconditional);
  check_output("of_conditional", of_c);
  check_output("of_unconditional", of_u);
  if (detail::overlap(of_c, of_u)) {
    throw shape_error("guide_gradient: of_conditional and of_unconditional share memory");
  }
  const detail::operation_arguments arguments(backend);
  detail::check_guidance(arguments, operation, options, g.rows(), g.columns());
  detail::execute(arguments, detail::guide_gradient_op<T, storage_of<G>>{
                                 g, conditional, unconditional, of_c, of_u, options.scale, options.channels});
}

TEMPFLOW_NEEDS_BACKEND(guide);
TEMPFLOW_NEEDS_BACKEND(guide_gradient);

}  // namespace tempflow
