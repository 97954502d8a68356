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
#include <atomic>
#include <cmath>
#include <concepts>
#include <span>
#include <vector>

#include "tempflow/backend/backend.hpp"
#include "tempflow/detail/rows.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/ops/checks.hpp"
#include "tempflow/ops/policy_terms.hpp"
#include "tempflow/ops/row.hpp"

namespace tempflow {

namespace detail {

/// The slopes of a row, with the factors that make them multiply its elements.
template <class Real>
struct policy_slopes {
  Real on_policy = 0;  ///< of r, if the log-ratio is 0
  Real slope = 0;      ///< of r
  Real pull = 0;       ///< of v - v_ref
};

template <class Arithmetic, storage_scalar T, storage_scalar G, class Objective>
struct policy_loss_row {
  using arithmetic = Arithmetic;
  using real = typename arithmetic::template real<T>;

  const policy_batch<T>& batch;
  batch_view<const T> v, v_ref;
  policy_terms<const Objective&> terms;
  batch_view<G> gradient;
  bool streamed;                ///< the gradient goes past the caches
  std::atomic<bool>& one_pass;  ///< the rows so far were on policy: guess that the next is
  std::span<policy_slopes<real>> slopes;
  std::span<policy_row> results;

  index_t elements() const { return v.columns(); }
  index_t sums() const { return 2; }
  double nanoseconds() const { return 0.7; }

  /// Before the first pass: all that does not depend on the elements.
  void begin(index_t i) const {
    auto& row = slopes[static_cast<std::size_t>(i)];
    if (one_pass.load(std::memory_order_relaxed)) row.on_policy = static_cast<real>(terms.slope_at(i, 0.0));
    row.pull = static_cast<real>(terms.pull(i));
  }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* sums,
                                 Instructions isa) const {
    const auto guess = [&](index_t begin, index_t end) TEMPFLOW_INLINE_LAMBDA {
      write_gradient(i, slopes[static_cast<std::size_t>(i)].on_policy, begin, end, isa);
    };
    if (!one_pass.load(std::memory_order_relaxed)) {
      add_squares(i, first, last, sums, isa, nothing{});
    } else if constexpr (sizeof(T) == 2 || Instructions::value != instruction_set::avx512) {
      add_squares(i, first, last, sums, isa, nothing{});  // two short loops keep their numbers in registers
      guess(first, last);
    } else {  // stores go out while loads come in
      add_squares(i, first, last, sums, isa, guess);
    }
  }

  template <class Instructions, class Meanwhile>
  TEMPFLOW_INLINE_HOST void add_squares(index_t i, index_t first, index_t last, double* sums, Instructions,
                                        const Meanwhile& meanwhile) const {
    const row_coefficients<real> step(batch.transitions[i]);
    const T *const x = batch.x.row(i), *const y = batch.y.row(i), *const vi = v.row(i);
    if (v_ref.empty()) {
      sums[0] += squared_residual<arithmetic, Instructions::value>(x, vi, y, step, first, last, meanwhile);
    } else {
      const auto both = squared_residual_and_difference<arithmetic, Instructions::value>(
          x, vi, y, v_ref.row(i), step, first, last, meanwhile);
      sums[0] += both.value[0];
      sums[1] += both.value[1];
    }
  }

  /// The numbers of row i. Returns whether its gradient has yet to be written.
  bool conclude(index_t i, const double* sums) const {
    const auto at = static_cast<std::size_t>(i);
    policy_row& row = results[at];
    slopes[at].slope = static_cast<real>(terms.conclude(i, sums[0], sums[1], row));
    row.finite = row.finite && is_finite(slopes[at].slope) && is_finite(slopes[at].pull);
    if (gradient.empty()) return false;
    if (!one_pass.load(std::memory_order_relaxed)) return true;
    if (!row.finite) return true;
    if (same_bits(slopes[at].slope, slopes[at].on_policy)) return false;
    one_pass.store(false, std::memory_order_relaxed);
    return true;
  }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void revisit(index_t i, index_t first, index_t last, Instructions isa) const {
    if (results[static_cast<std::size_t>(i)].finite) {
      write_gradient(i, slopes[static_cast<std::size_t>(i)].slope, first, last, isa);
    } else {
      write_zeros(i, first, last);
    }
  }

  void finish(index_t i) const {
    policy_row& row = results[static_cast<std::size_t>(i)];
    if constexpr (std::same_as<G, float16>) {  // a loss scale that is too large for the type
      if (row.finite && !gradient.empty()) {
        const G* const written = gradient.row(i);
        row.finite = std::all_of(written, written + elements(), [](G g) { return is_finite(load(g)); });
        if (!row.finite) write_zeros(i, 0, elements());
      }
    }
    if (!row.finite) row.surrogate = not_a_number;  // seen in the mean loss
  }

  void settle() const {
    if (streamed) stream_fence();
  }

  /// slope r + pull (v - v_ref).
  template <class Instructions>
  TEMPFLOW_INLINE_HOST void write_gradient(index_t i, real slope, index_t first, index_t last,
                                           Instructions) const {
    const row_coefficients<real> step(batch.transitions[i]);
    const T *const x = batch.x.row(i), *const y = batch.y.row(i), *const vi = v.row(i);
    const auto write = [&](const auto& compute) TEMPFLOW_INLINE_LAMBDA {
      constexpr instruction_set instructions = Instructions::value;
      constexpr bool can_stream = visit_plan<real, T, G, instructions>::in_registers;
      if (can_stream && streamed) {
        write_elements<T, real, instructions, can_stream>(gradient.row(i), first, last, compute);
      } else {
        write_elements<T, real, instructions>(gradient.row(i), first, last, compute);
      }
    };
    if (v_ref.empty()) {
      write([=](auto at) TEMPFLOW_INLINE_LAMBDA {
        return policy_gradient(slope, step.residual(at(x), at(vi), at(y)));
      });
    } else {
      const real pull = slopes[static_cast<std::size_t>(i)].pull;
      const T* const reference = v_ref.row(i);
      write([=](auto at) TEMPFLOW_INLINE_LAMBDA {
        return policy_gradient(slope, step.residual(at(x), at(vi), at(y)), pull, at(vi) - at(reference));
      });
    }
  }

  TEMPFLOW_INLINE_HOST void write_zeros(index_t i, index_t first, index_t last) const {
    write_elements<G, real, instruction_set::portable>(gradient.row(i), first, last,
                                                       [](auto) TEMPFLOW_INLINE_LAMBDA { return real{0}; });
  }
};

/// Runs the passes over all rows. Backends with memory of their own have theirs (ops/cuda/policy_loss.hpp).
template <backend B, storage_scalar T, class Objective, storage_scalar G>
void run_policy_loss(const B& place, const policy_batch<T>& batch, const batch_view<const T>& v,
                     const batch_view<const T>& v_ref, const policy_terms<const Objective&>& terms,
                     const batch_view<G>& gradient, std::span<policy_row> rows) {
  using row_kernel = policy_loss_row<typename B::arithmetic, T, G, Objective>;
  const index_t count = v.rows();
  std::vector<policy_slopes<typename row_kernel::real>> slopes(static_cast<std::size_t>(count));
  const bool in_place = overlap(gradient, batch.x) || overlap(gradient, batch.y) || overlap(gradient, v) ||
                        overlap(gradient, v_ref);
  std::atomic<bool> one_pass = !gradient.empty() && !in_place;
  const row_kernel rows_of_batch{batch,    v,      v_ref, terms, gradient, worth_streaming(gradient),
                                 one_pass, slopes, rows};
  for (index_t i = 0; i < count; ++i) rows_of_batch.begin(i);
  run_rows(place, count, rows_of_batch);
}

/// What the losses of a batch are divided by.
template <storage_scalar T>
double policy_mean_over(const policy_batch<T>& batch, index_t rows) {
  return static_cast<double>(batch.mean_over > 0 ? batch.mean_over : (std::max)(rows, index_t{1}));
}

}  // namespace detail

/// dL/dv of a batch and every row's own numbers: policy_loss without the summary.
///
/// v: B x D, the policy's velocity at batch.x. v_ref: B x D, the reference policy's; {} when the objective
/// has kl_beta = 0 (given all the same, the KL is reported). gradient: B x D in any storage type, or {} for
/// the loss alone; it may be one of the inputs, which it then replaces. rows: B. The bits of a row depend on
/// nothing but the row and N.
///
/// A row whose log-prob, loss, KL or slope is not finite, or whose gradient overflows fp16, gets a zero
/// gradient and finite = false, so that one broken sample cannot poison the weights.
///
/// Throws shape_error for extents that differ, or a gradient that overlaps an input without being it;
/// value_error for old log-probs, advantages, weights, mean_over, gradient_scale or parameters of the
/// objective that make no sense; schedule_error for a transition without noise, or without the diffusion that
/// the KL is asked to use. Source: TempFlow-GRPO, arXiv 2508.04324 (weights: eqs. 7 and 8); Flow-GRPO, arXiv
/// 2505.05470, scripts/train_sd3.py.
template <backend B, storage_scalar T, policy_objective Objective, storage_scalar G = T>
void policy_loss_rows(const B& place, const policy_batch<T>& batch, input_batch<T> v, input_batch<T> v_ref,
                      const Objective& objective, batch_view<G> gradient, std::span<policy_row> rows) {
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
  detail::check_transitions(place, "policy_loss", batch.transitions, count, true);
  detail::check_finite(place, "policy_loss", "old_log_probs", batch.old_log_probs, count);
  detail::check_finite(place, "policy_loss", "advantages", batch.advantages, count);
  detail::check_finite(place, "policy_loss", "weights", batch.weights, count);
  if (objective.kl_beta != 0 && count > 0 && !given(v_ref)) {
    throw shape_error(detail::message("policy_loss: kl_beta = ", double{objective.kl_beta},
                                      " needs v_ref, the reference policy's velocity (", count, " x ",
                                      elements, ")"));
  }
  if (given(v_ref) && objective.kl_over == kl_denominator::diffusion) {
    detail::check_diffusions(place, "policy_loss", batch.transitions, count);
  }
  if (batch.mean_over < 0 || !is_finite(batch.gradient_scale)) {
    throw value_error(detail::message("policy_loss: mean_over = ", batch.mean_over,
                                      ", gradient_scale = ", batch.gradient_scale));
  }
  const detail::policy_terms<const Objective&> terms{
      batch.transitions,
      batch.old_log_probs.data(),
      batch.advantages.data(),
      batch.weights,
      batch.convention,
      objective,
      elements,
      batch.gradient_scale / detail::policy_mean_over(batch, count),
      !v_ref.empty()};
  run_policy_loss(place, batch, v, v_ref, terms, gradient, rows);  // found by its argument's namespace
}

/// Loss, statistics and dL/dv of a batch; writes every row's own numbers to `rows`, in host memory.
///
/// Arguments and errors as policy_loss_rows. Rows that are not finite are counted in `non_finite_rows`; a mean
/// loss that is not finite stays so, and shows it.
template <backend B, storage_scalar T, policy_objective Objective, storage_scalar G = T>
policy_statistics policy_loss(const B& place, const policy_batch<T>& batch, input_batch<T> v,
                              input_batch<T> v_ref, const Objective& objective, batch_view<G> gradient,
                              std::span<policy_row> rows) {
  constexpr bool waits = requires { place.check_host_waits("policy_loss", rows.data()); };
  if constexpr (waits) place.check_host_waits("policy_loss", rows.data());
  policy_loss_rows(place, batch, v, v_ref, objective, gradient, rows);
  if constexpr (waits) place.synchronize();
  return summarize(rows, objective.kl_beta, detail::policy_mean_over(batch, v.rows()));
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
