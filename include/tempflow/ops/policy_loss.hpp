// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loss of a batch of transitions and its gradient with respect to the velocity, in one operation:
//
//   L = 1/N sum_i [ objective(log p_i - log p_old_i, A_i, w_i) + kl_beta KL_i ]
//   dL/dv = c1 r + c2 (v - v_ref),   r = y - alpha x - beta v,   two scalars c1, c2 a row
//
// The host backpropagates dL/dv through its own model; no other graph exists. Derivation: docs/maths.md.

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "tempflow/backend/backend.hpp"
#include "tempflow/detail/kernel.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/objective/policy_statistics.hpp"
#include "tempflow/ops/checks.hpp"
#include "tempflow/ops/log_prob.hpp"
#include "tempflow/ops/row.hpp"

namespace tempflow {

/// Transitions to train on: B rows, which may mix steps, branches and prompts.
template <storage_scalar T>
struct policy_batch {
  batch_view<const T> x;                  ///< B x D, states the model was evaluated at
  batch_view<const T> y;                  ///< B x D, states the rollout drew
  per_row<transition> transitions;        ///< one for all rows, or B
  std::span<const double> old_log_probs;  ///< B, of y under the rollout's policy
  std::span<const double> advantages;     ///< B
  per_row<double> weights = 1.0;          ///< timestep weights: one for all rows, or B
  log_prob_convention convention = {};    ///< of old_log_probs, and hence of the new ones
  index_t mean_over = 0;      ///< N; 0 takes B. Gradients accumulated over batches need their total.
  double gradient_scale = 1;  ///< multiplies dL/dv alone: loss scaling for 16-bit gradients
};

namespace detail {

template <class Arithmetic, storage_scalar T, storage_scalar G, class Objective>
struct policy_loss_row {
  using kernel_tag = kernel;

  policy_batch<T> batch;
  batch_view<const T> v, v_ref;
  Objective objective;
  double gradient_factor;
  batch_view<G> gradient;
  std::span<policy_row> results;

  using real = typename Arithmetic::template real<T>;

  TEMPFLOW_INLINE void operator()(index_t i) const {
    const T *const x = batch.x.row(i), *const y = batch.y.row(i), *const vi = v.row(i);
    const T* const reference = v_ref.empty() ? nullptr : v_ref.row(i);
    const transition& step = batch.transitions[i];
    const row_coefficients<real> coefficients(step);
    const index_t elements = v.columns();
    const auto row = static_cast<std::size_t>(i);

    policy_row result;
    const double squared = row_squared_residual<Arithmetic>(x, vi, y, coefficients, elements);
    result.log_prob = gaussian_log_prob(squared, step, elements, batch.convention);
    result.log_ratio = result.log_prob - batch.old_log_probs[row];
    result.ratio = std::exp(result.log_ratio);
    const surrogate answer = objective(result.log_ratio, batch.advantages[row], batch.weights[i]);
    result.surrogate = answer.loss;
    result.below = answer.below;
    result.above = answer.above;
    if (reference != nullptr) {
      double difference = 0;
      for_each_tile<Arithmetic>(elements, [&](index_t first, index_t last) TEMPFLOW_INLINE_LAMBDA {
        difference += squared_difference<Arithmetic>(vi, reference, first, last);
      });
      result.kl = gaussian_kl(difference, step, elements, objective.kl_over);
    }
    const auto slope =
        static_cast<real>(answer.slope * log_prob_slope(step, elements, batch.convention) * gradient_factor);
    const auto pull = reference == nullptr
                          ? real{0}
                          : static_cast<real>(objective.kl_beta *
                                              kl_slope(step, elements, objective.kl_over) * gradient_factor);
    result.finite = is_finite(squared) && is_finite(answer.loss) && is_finite(result.kl) &&
                    is_finite(slope) && is_finite(pull);
    if (!result.finite) result.surrogate = std::numeric_limits<double>::quiet_NaN();  // seen in the mean loss
    if (!gradient.empty()) {
      result.finite =
          write_gradient(x, vi, y, reference, coefficients, slope, pull, result.finite, gradient.row(i));
    }
    results[row] = result;
  }

  /// slope r + pull (v - v_ref), or zeros where that is not finite. Returns whether it was.
  TEMPFLOW_INLINE bool write_gradient(const T* x, const T* vi, const T* y, const T* reference,
                                      const row_coefficients<real>& coefficients, real slope, real pull,
                                      bool finite, G* out) const {
    const index_t elements = v.columns();
    const auto push = [=](index_t e) TEMPFLOW_INLINE_LAMBDA {
      return slope * coefficients.residual(real{load(x[e])}, real{load(vi[e])}, real{load(y[e])});
    };
    if (finite && reference == nullptr) {
      write_elements<real>(out, 0, elements, push);
    } else if (finite) {
      write_elements<real>(out, 0, elements, [=](index_t e) TEMPFLOW_INLINE_LAMBDA {
        return fused_multiply_add(pull, real{load(vi[e])} - real{load(reference[e])}, push(e));
      });
    }
    if constexpr (std::same_as<G, float16>) {  // a loss scale that is too large for the type
      for (index_t e = 0; finite && e < elements; ++e) finite = is_finite(load(out[e]));
    }
    if (!finite)
      write_elements<real>(out, 0, elements, [](index_t) TEMPFLOW_INLINE_LAMBDA { return real{0}; });
    return finite;
  }
};

}  // namespace detail

/// Loss, statistics and dL/dv of a batch; writes every row's own numbers to `rows`.
///
/// v: B x D, the policy's velocity at batch.x. v_ref: B x D, the reference policy's; {} when the objective
/// has kl_beta = 0 (given all the same, the KL is reported). gradient: B x D in any storage type, or {} for
/// the loss alone; it may be one of the inputs, which it then replaces. rows: B. The bits of a row depend on
/// nothing but the row and N.
///
/// A row whose log-prob, loss, KL or slope is not finite, or whose gradient overflows fp16, gets a zero
/// gradient and is counted in `non_finite_rows`, so that one broken sample cannot poison the weights; a mean
/// loss that is not finite stays so, and shows it.
///
/// Throws shape_error for extents that differ, or a gradient that overlaps an input without being it;
/// value_error for old log-probs, advantages, weights, mean_over, gradient_scale or parameters of the
/// objective that make no sense; schedule_error for a transition without noise, or without the diffusion that
/// the KL is asked to use. Source: TempFlow-GRPO, arXiv 2508.04324 (weights: eqs. 7 and 8); Flow-GRPO, arXiv
/// 2505.05470, scripts/train_sd3.py.
template <backend B, storage_scalar T, policy_objective Objective, storage_scalar G = T>
policy_statistics policy_loss(const B& place, const policy_batch<T>& batch, input_batch<T> v,
                              input_batch<T> v_ref, const Objective& objective, batch_view<G> gradient,
                              std::span<policy_row> rows) {
  const index_t count = v.rows(), elements = v.columns();
  const auto given = [](const auto& view) {
    return view.data() != nullptr || view.rows() > 0 || view.columns() > 0;
  };
  objective.validate();
  detail::check_shape("policy_loss", "x", batch.x, count, elements);
  detail::check_shape("policy_loss", "y", batch.y, count, elements);
  if (given(v_ref)) detail::check_shape("policy_loss", "v_ref", v_ref, count, elements);
  if (given(gradient)) detail::check_shape("policy_loss", "gradient", gradient, count, elements);
  detail::check_has_elements("policy_loss", count, elements);
  detail::check_same_or_apart("policy_loss", "gradient", gradient, "x", batch.x);
  detail::check_same_or_apart("policy_loss", "gradient", gradient, "y", batch.y);
  detail::check_same_or_apart("policy_loss", "gradient", gradient, "v", v);
  detail::check_same_or_apart("policy_loss", "gradient", gradient, "v_ref", v_ref);
  detail::check_size("policy_loss", "rows", rows.size(), count);
  detail::check_size("policy_loss", "old_log_probs", batch.old_log_probs.size(), count);
  detail::check_size("policy_loss", "advantages", batch.advantages.size(), count);
  detail::check_transitions("policy_loss", batch.transitions, count, true);
  detail::check_finite("policy_loss", "old_log_probs", batch.old_log_probs, count);
  detail::check_finite("policy_loss", "advantages", batch.advantages, count);
  detail::check_finite("policy_loss", "weights", batch.weights, count);
  if (objective.kl_beta != 0 && count > 0 && !given(v_ref)) {
    throw shape_error(detail::message("policy_loss: kl_beta = ", double{objective.kl_beta},
                                      " needs v_ref, the reference policy's velocity (", count, " x ",
                                      elements, ")"));
  }
  for (index_t i = 0; given(v_ref) && objective.kl_over == kl_denominator::diffusion && i < count; ++i) {
    if (!(batch.transitions[i].diffusion > 0)) {
      throw schedule_error(
          detail::message("policy_loss: the KL over the diffusion needs it, the transition of row ", i,
                          " has diffusion = ", batch.transitions[i].diffusion));
    }
  }
  if (batch.mean_over < 0 || !is_finite(batch.gradient_scale)) {
    throw value_error(detail::message("policy_loss: mean_over = ", batch.mean_over,
                                      ", gradient_scale = ", batch.gradient_scale));
  }
  const auto mean_over =
      static_cast<double>(batch.mean_over > 0 ? batch.mean_over : (std::max)(count, index_t{1}));
  place.for_each_index(count,
                       detail::policy_loss_row<typename B::arithmetic, T, G, Objective>{
                           batch, v, v_ref, objective, batch.gradient_scale / mean_over, gradient, rows});
  return summarize(rows, objective.kl_beta, mean_over);
}

/// As above, with the rows' own numbers in memory of its own.
template <backend B, storage_scalar T, policy_objective Objective, storage_scalar G = T>
policy_statistics policy_loss(const B& place, const policy_batch<T>& batch, input_batch<T> v,
                              input_batch<T> v_ref, const Objective& objective, batch_view<G> gradient) {
  std::vector<policy_row> rows(static_cast<std::size_t>(v.rows()));
  return policy_loss(place, batch, v, v_ref, objective, gradient, std::span<policy_row>(rows));
}

/// As above, with the gradient in a buffer.
template <backend B, storage_scalar T, policy_objective Objective, storage_scalar G>
policy_statistics policy_loss(const B& place, const policy_batch<T>& batch, input_batch<T> v,
                              input_batch<T> v_ref, const Objective& objective, batch_buffer<G>& gradient) {
  return policy_loss(place, batch, v, v_ref, objective, gradient.view());
}

}  // namespace tempflow
