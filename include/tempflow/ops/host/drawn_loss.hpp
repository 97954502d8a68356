// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_loss of transitions whose noise is drawn again, on host backends. All but the KL is known beforehand: one
// pass over the elements.

#include <span>
#include <utility>
#include <vector>

#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/gradient_writer.hpp"
#include "tempflow/ops/host/objective_ref.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

/// A transition's part in the gradient of its state: slope std z.
template <class Real>
struct drawn_part {
  noise_id id;
  Real slope = 0, std = 0;  ///< std: negative for minus the noise of the identity
};

/// A state and the transitions that leave it.
template <class Arithmetic, storage_scalar T, storage_scalar V, storage_scalar G>
struct drawn_loss_row {
  using arithmetic = Arithmetic;
  using real = typename arithmetic::template real<T>;

  const any_policy_loss_op<T, V, G>& op;
  noise_key key;
  gradient_writer<any_policy_loss_op<T, V, G>, real, G, V, real> out;
  std::span<drawn_part<real>> parts;
  std::span<policy_state<real>> states;

  index_t elements() const { return op.v.columns(); }
  index_t sums_before(index_t i) const { return i; }  // (v - v_ref)^2
  double nanoseconds() const { return 0.3 + 1.2 * op.of.mean_count(); }

  /// Before the pass: all that does not depend on the elements.
  void begin(index_t i) const {
    policy_state<real>& state = states[static_cast<std::size_t>(i)];
    state.reference_slope = static_cast<real>(op.terms.reference_slope(i));
    for (index_t row = op.of.first(i); row < op.of.first(i + 1); ++row) {
      const auto slope = static_cast<real>(op.terms.slope_of(i, answer_at(row)));
      const double part = double{slope} * slope * op.terms.expected_square(i);
      if (!is_finite(slope) || !is_finite(state.reference_slope) || part > op.terms.overflowing) continue;
      const noise_draw draw(op.drawn->ids[row], op.drawn->antithetic);
      parts[static_cast<std::size_t>(op.of.first(i) + state.parts++)] = {
          draw.id, slope, row_coefficients<real>(op.terms.transitions[i], draw).std};
    }
  }

  /// The objective's answer on policy.
  surrogate answer_at(index_t row) const {
    return op.terms.objective(0.0, op.terms.advantages[row], op.terms.weights[row]);
  }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* difference,
                                 Instructions) const {
    constexpr instruction_set instructions = Instructions::value;
    if (!op.v_ref.empty() && op.of.count(i) > 0)
      *difference +=
          squared_difference<arithmetic, instructions, T>(op.v.row(i), op.v_ref.row(i), first, last);
    if (op.gradient.empty()) return;
    const index_t count = states[static_cast<std::size_t>(i)].parts;
    if (count == 0) return out.write_zeros(i, first, last);
    for (index_t e = first; e < last; e += noise_chunk) {
      const index_t end = last - e < noise_chunk ? last : e + noise_chunk;
      alignas(64) real sum[noise_chunk];
      add_noise<instructions>(parts.data() + op.of.first(i), count, e, end, sum);
      write_chunk_of<instructions>(i, e, end, sum);
    }
  }

  /// sum = slope std z, of all parts in their order.
  template <instruction_set Instructions>
  TEMPFLOW_INLINE_HOST void add_noise(const drawn_part<real>* part, index_t count, index_t first,
                                      index_t last, real (&sum)[noise_chunk]) const {
    float noise[noise_chunk];
    for (index_t k = 0; k < count; ++k) {
      const real slope = part[k].slope, std = part[k].std;
      if (k == 0 || !(part[k].id == part[k - 1].id))  // one of an antithetic pair has its noise already
        write_noise<Instructions>(key, part[k].id, op.drawn->first_element + first, last - first, noise);
      const float* const z = noise;
      const real* const before = sum;
      if (k == 0) {
        write_elements<real, Instructions, false, real>(
            sum, 0, last - first, [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
              return policy_gradient(slope, drawn_residual(std, at(z)));
            });
      } else {
        write_elements<real, Instructions, false, real>(
            sum, 0, last - first, [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
              return policy_gradient_plus(at(before), slope, drawn_residual(std, at(z)));
            });
      }
    }
  }

  /// The gradient of a chunk: its sum, and the KL's part.
  template <instruction_set Instructions>
  TEMPFLOW_INLINE_HOST void write_chunk_of(index_t i, index_t first, index_t last,
                                           const real (&sum)[noise_chunk]) const {
    const policy_state<real>& state = states[static_cast<std::size_t>(i)];
    const real reference_slope = static_cast<real>(state.parts) * state.reference_slope;
    const real* const from = sum;
    if (op.v_ref.empty()) {
      write<Instructions>(i, first, last, from, [=] TEMPFLOW_INLINE_LAMBDA(auto, auto g) { return g; });
    } else {
      const V *const v = op.v.row(i), *const v_ref = op.v_ref.row(i);
      write<Instructions>(i, first, last, from, [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto g) {
        return policy_gradient_plus(g, reference_slope, at(v) - at(v_ref));
      });
    }
  }

  /// compute(at, sum at) of a chunk.
  template <instruction_set Instructions, class Compute>
  TEMPFLOW_INLINE_HOST void write(index_t i, index_t first, index_t last, const real* sum,
                                  const Compute& compute) const {
    out.template write<Instructions>(i, first, last, [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
      return compute(at, decltype(at){at.index - first}(sum));
    });
  }

  /// The numbers of a state's rows. Returns whether what was written has to give way to zeros.
  bool conclude(index_t i, const double* difference) const {
    bool has_kl = true;
    for (index_t row = op.of.first(i); row < op.of.first(i + 1); ++row) {
      policy_row& to = op.rows[static_cast<std::size_t>(row)];
      to = op.terms.score_on_policy(i, row, *difference);
      has_kl = has_kl && is_finite(to.kl);
      const double kl = std::exchange(to.kl, 0);  // not looked at here, as on devices, which sum it up later
      const surrogate answer = answer_at(row);
      op.terms.conclude(answer, static_cast<real>(op.terms.slope_of(i, answer)),
                        states[static_cast<std::size_t>(i)].reference_slope, op.terms.expected_square(i), to);
      to.kl = kl;
    }
    if (has_kl || op.gradient.empty()) return false;
    states[static_cast<std::size_t>(i)].parts = 0;
    return true;
  }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void second_pass(index_t i, index_t first, index_t last, Instructions) const {
    out.write_zeros(i, first, last);
  }

  void finish(index_t i) const { out.finish(i, states[static_cast<std::size_t>(i)].parts > 0); }

  void fence() const { out.fence(); }
};

template <host_backend B, storage_scalar T, storage_scalar V, storage_scalar G>
void run_drawn(const operation_arguments<B>& arguments, const any_policy_loss_op<T, V, G>& op) {
  using row_kernel = drawn_loss_row<typename B::arithmetic, T, V, G>;
  using real = typename row_kernel::real;
  const index_t count = op.of.states();
  std::vector<drawn_part<real>> parts(static_cast<std::size_t>(op.of.rows()));
  std::vector<policy_state<real>> states(static_cast<std::size_t>(count));
  const row_kernel rows{op, *op.drawn->key, {op, worth_streaming(op.gradient)}, parts, states};
  for (index_t i = 0; i < count; ++i) rows.begin(i);
  run_rows(arguments.backend(), count, rows);
}

}  // namespace tempflow::detail
