// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_loss on host backends.

#include <atomic>
#include <span>
#include <vector>

#include "tempflow/core/call_apart.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/drawn_loss.hpp"
#include "tempflow/ops/host/gradient_writer.hpp"
#include "tempflow/ops/host/objective_ref.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

/// A transition's part in the gradient of its state: slope r.
template <storage_scalar T, class Real>
struct policy_part {
  const T* y = nullptr;
  Real slope = 0;
};

/// A state and the transitions that leave it.
template <class Arithmetic, storage_scalar T, storage_scalar V, storage_scalar G>
struct policy_loss_row {
  using arithmetic = Arithmetic;
  using real = typename arithmetic::template real<T>;

  const any_policy_loss_op<T, V, G>& op;
  gradient_writer<any_policy_loss_op<T, V, G>, real, G, T, V> out;
  std::atomic<bool>& one_pass;  ///< the rows so far were on policy: guess that the next are
  std::span<policy_part<T, real>> parts;
  std::span<policy_state<real>> states;

  index_t elements() const { return op.v.columns(); }
  index_t sums_before(index_t i) const { return op.of.first(i) + i; }  // r^2 of each row, (v - v_ref)^2
  double nanoseconds() const { return 0.35 * (1 + op.of.mean_count()); }

  /// Before the first pass: all that does not depend on the elements.
  void begin(index_t i) const {
    policy_state<real>& state = states[static_cast<std::size_t>(i)];
    state.parts = op.of.count(i);
    state.reference_slope = static_cast<real>(op.terms.reference_slope(i));
    for (index_t row = op.of.first(i); row < op.of.first(i + 1); ++row) {
      auto& part = parts[static_cast<std::size_t>(row)];
      part.y = op.y.row(row);
      if (one_pass.load(std::memory_order_relaxed))
        part.slope = static_cast<real>(op.terms.slope_of(i, answer_at(row, 0.0)));
    }
  }

  /// The objective's answer at a log-ratio.
  surrogate answer_at(index_t row, double log_ratio) const {
    return op.terms.objective(log_ratio, op.terms.advantages[row], op.terms.weights[row]);
  }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* sums,
                                 Instructions isa) const {
    const bool guesses = one_pass.load(std::memory_order_relaxed);
    if constexpr (sizeof(T) != 2 && Instructions::value == instruction_set::avx512) {
      if (guesses && op.of.count(i) == 1) {  // stores go out while loads come in
        return add_squares(i, first, last, sums, isa, [&] TEMPFLOW_INLINE_LAMBDA(index_t begin, index_t end) {
          write_one(i, begin, end, isa);
        });
      }
    }
    add_squares(i, first, last, sums, isa, nothing{});  // two short loops keep their numbers in registers
    if (guesses) second_pass(i, first, last, isa);
  }

  /// x and v are in the cache after the first of the rows. meanwhile: while that is visited.
  template <class Instructions, class Meanwhile>
  TEMPFLOW_INLINE_HOST void add_squares(index_t i, index_t first, index_t last, double* sums, Instructions,
                                        const Meanwhile& meanwhile) const {
    const index_t count = op.of.count(i);
    if (count == 0) return;
    const row_coefficients<real> step(op.terms.transitions[i]);
    const index_t row = op.of.first(i);
    const T *const x = op.x.row(i), *const y = op.y.row(row);
    const V* const v = op.v.row(i);
    if (op.v_ref.empty()) {
      sums[0] += squared_residual<arithmetic, Instructions::value>(x, v, y, step, first, last, meanwhile);
    } else {
      const auto both = squared_residual_and_difference<arithmetic, Instructions::value>(
          x, v, y, op.v_ref.row(i), step, first, last, meanwhile);
      sums[0] += both.value[0];
      sums[count] += both.value[1];
    }
    for (index_t k = 1; k < count; ++k) {
      sums[k] +=
          squared_residual<arithmetic, Instructions::value>(x, v, op.y.row(row + k), step, first, last);
    }
  }

  /// The numbers of a state's rows. Returns whether its gradient has yet to be written.
  bool conclude(index_t i, const double* sums) const {
    policy_state<real>& state = states[static_cast<std::size_t>(i)];
    const index_t first = op.of.first(i), count = op.of.count(i);
    bool as_guessed = true;
    state.parts = 0;
    for (index_t k = 0; k < count; ++k) {
      const auto at = static_cast<std::size_t>(first + k);
      policy_row& row = op.rows[at];
      row = op.terms.score(i, first + k, sums[k], sums[count]);
      const surrogate answer = answer_at(first + k, row.log_ratio);
      const auto slope = static_cast<real>(op.terms.slope_of(i, answer));
      op.terms.conclude(answer, slope, state.reference_slope, sums[k], row);
      if (row.finite == 0) continue;
      as_guessed = as_guessed && same_bits(slope, parts[at].slope);
      parts[static_cast<std::size_t>(first + state.parts++)] = {op.y.row(first + k), slope};
    }
    if (op.gradient.empty()) return false;
    if (!one_pass.load(std::memory_order_relaxed)) return true;
    if (!as_guessed) one_pass.store(false, std::memory_order_relaxed);
    return !as_guessed || state.parts < count;
  }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void second_pass(index_t i, index_t first, index_t last, Instructions) const {
    call_apart<Instructions::value>(tile_gradient{*this, i, first, last});
  }
  struct tile_gradient {
    const policy_loss_row& rows;
    index_t i, first, last;

    template <class Instructions>
    TEMPFLOW_INLINE_HOST void operator()(Instructions isa) const {
      rows.write_gradient(i, first, last, isa);
    }
  };

  void finish(index_t i) const { out.finish(i, states[static_cast<std::size_t>(i)].parts > 0); }

  void fence() const { out.fence(); }

  /// The sum of slope r over the parts, + their number times reference_slope (v - v_ref). The gradient of several is a
  /// small part of what is moved, so it is not streamed.
  template <class Instructions>
  TEMPFLOW_INLINE_HOST void write_gradient(index_t i, index_t first, index_t last, Instructions isa) const {
    const policy_state<real>& state = states[static_cast<std::size_t>(i)];
    const index_t count = state.parts;
    if (count == 0) return out.write_zeros(i, first, last);
    if (count == 1) return write_one(i, first, last, isa);
    const row_coefficients<real> step(op.terms.transitions[i]);
    const T* const x = op.x.row(i);
    const V* const v = op.v.row(i);
    const policy_part<T, real>* const part = parts.data() + op.of.first(i);
    const T* const y = part->y;
    const real slope = part->slope;
    const auto sum = [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
      auto g = policy_gradient(slope, step.residual(at(x), at(v), at(y)));
      for (index_t k = 1; k < count; ++k)
        g = policy_gradient_plus(g, part[k].slope, step.residual(at(x), at(v), at(part[k].y)));
      return g;
    };
    if (op.v_ref.empty()) return out.template write_cached<Instructions::value>(i, first, last, sum);
    const real reference_slope = static_cast<real>(count) * state.reference_slope;
    const V* const v_ref = op.v_ref.row(i);
    out.template write_cached<Instructions::value>(i, first, last, [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
      return policy_gradient_plus(sum(at), reference_slope, at(v) - at(v_ref));
    });
  }

  /// The same of one part: a loop without a loop in it.
  template <class Instructions>
  TEMPFLOW_INLINE_HOST void write_one(index_t i, index_t first, index_t last, Instructions) const {
    const row_coefficients<real> step(op.terms.transitions[i]);
    const T* const x = op.x.row(i);
    const V* const v = op.v.row(i);
    const policy_part<T, real>& part = parts[static_cast<std::size_t>(op.of.first(i))];
    const T* const y = part.y;
    const real slope = part.slope;
    if (op.v_ref.empty()) {
      return out.template write<Instructions::value>(i, first, last, [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
        return policy_gradient(slope, step.residual(at(x), at(v), at(y)));
      });
    }
    const real reference_slope = states[static_cast<std::size_t>(i)].reference_slope;
    const V* const v_ref = op.v_ref.row(i);
    out.template write<Instructions::value>(i, first, last, [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
      return policy_gradient(slope, step.residual(at(x), at(v), at(y)), reference_slope, at(v) - at(v_ref));
    });
  }
};

template <host_backend B, storage_scalar T, storage_scalar V, storage_scalar G>
void run_policy_loss(const operation_arguments<B>& arguments, const any_policy_loss_op<T, V, G>& op) {
  if (op.drawn) return run_drawn(arguments, op);
  using row_kernel = policy_loss_row<typename B::arithmetic, T, V, G>;
  using real = typename row_kernel::real;
  const index_t count = op.of.states();
  std::vector<policy_part<T, real>> parts(static_cast<std::size_t>(op.of.rows()));
  std::vector<policy_state<real>> states(static_cast<std::size_t>(count));
  const bool in_place = overlap(op.gradient, op.x) || overlap(op.gradient, op.y) ||
                        overlap(op.gradient, op.v) || overlap(op.gradient, op.v_ref);
  std::atomic<bool> one_pass = !op.gradient.empty() && !in_place;
  const row_kernel rows{op, {op, worth_streaming(op.gradient)}, one_pass, parts, states};
  for (index_t i = 0; i < count; ++i) rows.begin(i);
  run_rows(arguments.backend(), count, rows);
}

template <host_backend B, storage_scalar T, storage_scalar V, storage_scalar G, class Objective>
void run(const operation_arguments<B>& arguments, const policy_loss_op<T, V, G, Objective>& op) {
  run_policy_loss(arguments, without_type(op));
}

}  // namespace tempflow::detail
