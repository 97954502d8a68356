// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_loss on host backends.

#include <algorithm>
#include <atomic>
#include <concepts>
#include <span>
#include <vector>

#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

/// The slopes of a row, with the factors that make them multiply its elements.
template <class Real>
struct policy_slopes {
  Real on_policy = 0;        ///< of r, if the log-ratio is 0
  Real slope = 0;            ///< of r
  Real reference_slope = 0;  ///< of v - v_ref
};

template <class Arithmetic, storage_scalar T, storage_scalar G, class Objective>
struct policy_loss_row {
  using arithmetic = Arithmetic;
  using real = typename arithmetic::template real<T>;

  const policy_loss_op<T, G, Objective>& op;
  bool streamed;                ///< the gradient goes past the caches
  std::atomic<bool>& one_pass;  ///< the rows so far were on policy: guess that the next is
  std::span<policy_slopes<real>> slopes;

  index_t elements() const { return op.v.columns(); }
  index_t sums() const { return 2; }
  double nanoseconds() const { return 0.7; }

  /// Before the first pass: all that does not depend on the elements.
  void begin(index_t i) const {
    auto& row = slopes[static_cast<std::size_t>(i)];
    if (one_pass.load(std::memory_order_relaxed))
      row.on_policy = static_cast<real>(op.terms.slope_of(i, answer_at(i, 0.0)));
    row.reference_slope = static_cast<real>(op.terms.reference_slope(i));
  }

  /// The objective's answer at a log-ratio. Not a part of its callers: the same bits in all instruction sets.
  TEMPFLOW_NOINLINE surrogate answer_at(index_t i, double log_ratio) const {
    return op.terms.objective(log_ratio, op.terms.advantages[i], op.terms.weights[i]);
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
    const row_coefficients<real> step(op.terms.transitions[i]);
    const T *const x = op.x.row(i), *const y = op.y.row(i), *const v = op.v.row(i);
    if (op.v_ref.empty()) {
      sums[0] += squared_residual<arithmetic, Instructions::value>(x, v, y, step, first, last, meanwhile);
    } else {
      const auto both = squared_residual_and_difference<arithmetic, Instructions::value>(
          x, v, y, op.v_ref.row(i), step, first, last, meanwhile);
      sums[0] += both.value[0];
      sums[1] += both.value[1];
    }
  }

  /// The numbers of row i. Returns whether its gradient has yet to be written.
  bool conclude(index_t i, const double* sums) const {
    const auto at = static_cast<std::size_t>(i);
    policy_row& row = op.rows[at];
    row = op.terms.score(i, sums[0], sums[1]);
    const surrogate answer = answer_at(i, row.log_ratio);
    op.terms.conclude(answer, row);
    slopes[at].slope = static_cast<real>(op.terms.slope_of(i, answer));
    row.finite = row.finite && is_finite(slopes[at].slope) && is_finite(slopes[at].reference_slope);
    if (op.gradient.empty()) return false;
    if (!one_pass.load(std::memory_order_relaxed)) return true;
    if (!row.finite) return true;
    if (same_bits(slopes[at].slope, slopes[at].on_policy)) return false;
    one_pass.store(false, std::memory_order_relaxed);
    return true;
  }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void second_pass(index_t i, index_t first, index_t last, Instructions isa) const {
    if (op.rows[static_cast<std::size_t>(i)].finite) {
      write_gradient(i, slopes[static_cast<std::size_t>(i)].slope, first, last, isa);
    } else {
      write_zeros(i, first, last);
    }
  }

  void finish(index_t i) const {
    policy_row& row = op.rows[static_cast<std::size_t>(i)];
    if constexpr (std::same_as<G, float16>) {  // a loss scale that is too large for the type
      if (row.finite && !op.gradient.empty()) {
        const G* const written = op.gradient.row(i);
        row.finite = std::all_of(written, written + elements(), [](G g) { return is_finite(load(g)); });
        if (!row.finite) write_zeros(i, 0, elements());
      }
    }
    if (!row.finite) row.surrogate = not_a_number;  // seen in the mean loss
  }

  void fence() const {
    if (streamed) stream_fence();
  }

  /// slope r + reference_slope (v - v_ref).
  template <class Instructions>
  TEMPFLOW_INLINE_HOST void write_gradient(index_t i, real slope, index_t first, index_t last,
                                           Instructions) const {
    const row_coefficients<real> step(op.terms.transitions[i]);
    const T *const x = op.x.row(i), *const y = op.y.row(i), *const v = op.v.row(i);
    const auto write = [&](const auto& compute) TEMPFLOW_INLINE_LAMBDA {
      constexpr instruction_set instructions = Instructions::value;
      constexpr bool can_stream = visit_plan<real, T, G, instructions>::in_registers;
      if (can_stream && streamed) {
        write_elements<T, real, instructions, can_stream>(op.gradient.row(i), first, last, compute);
      } else {
        write_elements<T, real, instructions>(op.gradient.row(i), first, last, compute);
      }
    };
    if (op.v_ref.empty()) {
      write([=](auto at) TEMPFLOW_INLINE_LAMBDA {
        return policy_gradient(slope, step.residual(at(x), at(v), at(y)));
      });
    } else {
      const real reference_slope = slopes[static_cast<std::size_t>(i)].reference_slope;
      const T* const v_ref = op.v_ref.row(i);
      write([=](auto at) TEMPFLOW_INLINE_LAMBDA {
        return policy_gradient(slope, step.residual(at(x), at(v), at(y)), reference_slope, at(v) - at(v_ref));
      });
    }
  }

  TEMPFLOW_INLINE_HOST void write_zeros(index_t i, index_t first, index_t last) const {
    write_elements<G, real, instruction_set::portable>(op.gradient.row(i), first, last,
                                                       [](auto) TEMPFLOW_INLINE_LAMBDA { return real{0}; });
  }
};

template <host_backend B, storage_scalar T, storage_scalar G, class Objective>
void run(const operation_arguments<B>& arguments, const policy_loss_op<T, G, Objective>& op) {
  using row_kernel = policy_loss_row<typename B::arithmetic, T, G, Objective>;
  const index_t count = op.v.rows();
  std::vector<policy_slopes<typename row_kernel::real>> slopes(static_cast<std::size_t>(count));
  const bool in_place = overlap(op.gradient, op.x) || overlap(op.gradient, op.y) ||
                        overlap(op.gradient, op.v) || overlap(op.gradient, op.v_ref);
  std::atomic<bool> one_pass = !op.gradient.empty() && !in_place;
  const row_kernel rows{op, worth_streaming(op.gradient), one_pass, slopes};
  for (index_t i = 0; i < count; ++i) rows.begin(i);
  run_rows(arguments.backend(), count, rows);
}

}  // namespace tempflow::detail
