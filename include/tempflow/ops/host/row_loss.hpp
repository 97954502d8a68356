// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The general loss on host backends: sums of a row, gradients from factors, or both while the row is in the cache. The
// kernels do not know the objective: they are compiled once for all.

#include <cstdint>
#include <span>
#include <type_traits>

#include "tempflow/core/call_apart.hpp"
#include "tempflow/ops/detail/row_operations.hpp"
#include "tempflow/ops/host/gradient_writer.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

namespace tempflow::detail {

/// Doubles of a row's sums.
inline constexpr index_t row_sums_width = sizeof(row_sums) / sizeof(double);

/// A row's sums as kernels add them up.
inline row_sums as_row_sums(const double* sums) {
  return {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]};
}

/// Whether a tile has elements that count.
template <bool Masked, storage_scalar T, storage_scalar V>
TEMPFLOW_INLINE_HOST bool counts_any(const row_inputs<T, V>& in, index_t state, index_t first, index_t last) {
  return !Masked || any_byte(in.mask.row(state) + first, last - first);
}

/// Adds a tile of a row to its sums. Loops of one or two sums each, whose numbers stay in registers; the second and
/// third find the tile in the cache.
template <class Arithmetic, bool Masked, storage_scalar T, storage_scalar V>
struct row_sums_tile {
  const row_inputs<T, V>& in;
  double mixture;
  index_t state, row, first, last;
  double* sums;

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void operator()(Instructions) const {
    constexpr instruction_set instructions = Instructions::value;
    using real = typename Arithmetic::template real<T>;
    if (!counts_any<Masked>(in, state, first, last)) return;
    const transition& of_state = in.transitions[state];
    const row_coefficients<real> step(of_state);
    const T *const x = in.x.row(state), *const y = in.y.row(row);
    const V *const v = in.v.row(state), *const v_ref = in.v_ref.row(state),
                   *const v_old = in.v_old.row(state);
    const std::uint8_t* const mask = Masked ? in.mask.row(state) : nullptr;
    const auto counted = [=] TEMPFLOW_INLINE_LAMBDA(auto at, const auto& number) {
      using value = std::remove_cvref_t<decltype(number)>;
      if constexpr (Masked) {
        return select(at(mask), number, value(real{0}));
      } else {
        return value(number);
      }
    };
    const auto residual = [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
      return counted(at, step.residual(at(x), at(v), at(y)));
    };
    if constexpr (Masked) {
      const tile_sums<2> of_tile =
          masked_squared_residual<Arithmetic, instructions>(x, v, y, mask, step, first, last);
      sums[0] += of_tile.value[1], sums[1] += of_tile.value[0];
    } else {
      sums[0] += static_cast<double>(last - first);
      sums[1] += squared_residual<Arithmetic, instructions>(x, v, y, step, first, last);
    }
    const V* const others[] = {in.has_reference ? v_ref : nullptr, in.has_old ? v_old : nullptr};
    for (int k = 0; k < 2; ++k) {
      const V* const other = others[k];
      if (other == nullptr) continue;
      const auto add = [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& partial) {
        const auto d = counted(at, at(v) - at(other));
        partial[0] = fused_multiply_add(d, d, partial[0]);
        partial[1] = fused_multiply_add(residual(at), d, partial[1]);
      };
      const tile_sums<2> of_tile = Arithmetic::template sum<2, instructions, T, V>(first, last, add);
      sums[2 + 2 * k] += of_tile.value[0], sums[3 + 2 * k] += of_tile.value[1];
    }
    if (mixture == 0 || !in.has_old) return;
    const auto positive = static_cast<real>(of_state.beta * (1 - mixture));
    const auto negative = static_cast<real>(of_state.beta * (1 + mixture));
    const auto add = [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& partial) {
      const auto r = residual(at), o = counted(at, at(v) - at(v_old));
      partial[0] = partial[0] + magnitude(fused_multiply_add(positive, o, r));
      partial[1] = partial[1] + magnitude(fused_multiply_add(negative, o, r));
    };
    const tile_sums<2> of_tile = Arithmetic::template sum<2, instructions, T, V>(first, last, add);
    sums[6] += of_tile.value[0], sums[7] += of_tile.value[1];
  }
};

/// The sums of the rows of a state.
template <class Arithmetic, bool Masked, storage_scalar T, storage_scalar V>
struct row_sums_pass {
  using arithmetic = Arithmetic;

  const row_sums_op<T, V>& op;

  index_t elements() const { return op.in.v.columns(); }
  index_t sums_before(index_t i) const { return row_sums_width * op.in.of.first(i); }
  double nanoseconds() const { return 0.5 * op.in.of.mean_count(); }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* sums, Instructions) const {
    const index_t row = op.in.of.first(i), count = op.in.of.count(i);
    for (index_t k = 0; k < count; ++k) {
      call_apart<Instructions::value>(row_sums_tile<arithmetic, Masked, T, V>{
          op.in, op.mixture, i, row + k, first, last, sums + row_sums_width * k});
    }
  }

  void conclude(index_t i, const double* sums) const {
    const index_t row = op.in.of.first(i), count = op.in.of.count(i);
    for (index_t k = 0; k < count; ++k)
      op.sums[static_cast<std::size_t>(row + k)] = without_missing(
          as_row_sums(sums + row_sums_width * k), op.in.has_reference, op.in.has_old, op.mixture != 0);
  }
};

/// A row's part in the gradient of its state: factor r.
template <storage_scalar T, class Real>
struct gradient_part {
  const T* y = nullptr;
  Real factor = 0;
};

/// A state's gradient: rows whose r counts, and the factors of the differences of velocities.
template <class Real>
struct state_part {
  index_t rows = 0;
  Real reference = 0, old = 0;

  bool is_zero() const { return rows == 0 && reference == 0 && old == 0; }
};

/// Writes gradients from factors.
template <class Arithmetic, bool Masked, storage_scalar T, storage_scalar V, storage_scalar G>
struct row_gradients {
  using real = typename Arithmetic::template real<T>;

  const row_gradient_op<T, V, G>& op;
  gradient_writer<row_gradient_op<T, V, G>, real, G, T, V> out;
  std::span<gradient_part<T, real>> rows;
  std::span<state_part<real>> states;

  state_part<real>& state_at(index_t i) const { return states[static_cast<std::size_t>(i)]; }

  /// Before a state is written.
  void begin(index_t i) const {
    state_part<real>& state = state_at(i);
    double reference = 0, old = 0;
    const index_t first = op.of.first(i), last = op.of.first(i + 1);
    for (index_t row = first; row < last; ++row) {
      const row_factors& factors = op.factors[static_cast<std::size_t>(row)];
      reference += factors.reference, old += factors.old;
      const auto factor = static_cast<real>(factors.residual);
      if (factor != 0) rows[static_cast<std::size_t>(first + state.rows++)] = {op.in.y.row(row), factor};
    }
    state.reference = static_cast<real>(reference), state.old = static_cast<real>(old);
  }

  /// The gradient of a tile.
  struct tile {
    const row_gradients& gradients;
    index_t i, first, last;

    template <class Instructions>
    TEMPFLOW_INLINE_HOST void operator()(Instructions) const {
      gradients.template write_here<Instructions::value>(i, first, last);
    }
  };
  template <instruction_set Instructions>
  TEMPFLOW_INLINE_HOST void write(index_t i, index_t first, index_t last) const {
    call_apart<Instructions>(tile{*this, i, first, last});
  }
  template <instruction_set Instructions>
  TEMPFLOW_INLINE_HOST void write_here(index_t i, index_t first, index_t last) const {
    const state_part<real>& state = state_at(i);
    if (state.is_zero() || !counts_any<Masked>(op.in, i, first, last)) return out.write_zeros(i, first, last);
    const row_coefficients<real> step(op.in.transitions[i]);
    const T* const x = op.in.x.row(i);
    const V *const v = op.in.v.row(i), *const v_ref = op.in.v_ref.row(i), *const v_old = op.in.v_old.row(i);
    const gradient_part<T, real>* const part = rows.data() + op.of.first(i);
    const index_t count = state.rows;
    const real reference = state.reference, old = state.old;
    const std::uint8_t* const mask = Masked ? op.in.mask.row(i) : nullptr;
    out.template write<Instructions>(i, first, last, [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
      auto g = policy_gradient(real{0}, at(v));
      for (index_t k = 0; k < count; ++k)
        g = policy_gradient_plus(g, part[k].factor, step.residual(at(x), at(v), at(part[k].y)));
      g = policy_gradient_plus(g, reference, at(v) - at(v_ref));
      g = policy_gradient_plus(g, old, at(v) - at(v_old));
      if constexpr (Masked) g = select(at(mask), g, decltype(g)(real{0}));
      return g;
    });
  }

  void finish(index_t i) const {
    if (!op.rows.empty()) out.finish(i, !state_at(i).is_zero());
  }
};

/// The gradients of states whose factors are known.
template <class Arithmetic, bool Masked, storage_scalar T, storage_scalar V, storage_scalar G>
struct row_gradient_pass {
  using arithmetic = Arithmetic;

  const row_gradients<Arithmetic, Masked, T, V, G>& gradients;

  index_t elements() const { return gradients.op.in.v.columns(); }
  index_t sums_before(index_t) const { return 0; }
  double nanoseconds() const { return 0.35 * (1 + gradients.op.of.mean_count()); }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double*, Instructions) const {
    gradients.template write<Instructions::value>(i, first, last);
  }
  bool conclude(index_t, const double*) const { return false; }
  template <class Instructions>
  TEMPFLOW_INLINE_HOST void second_pass(index_t, index_t, index_t, Instructions) const {}
  void finish(index_t i) const { gradients.finish(i); }
  void fence() const { gradients.out.fence(); }
};

/// What an objective makes of a row's sums, without its type.
struct row_scorer {
  const void* op;
  policy_row (*score)(const void* op, index_t state, index_t row, const row_sums& sums, row_factors& factors);
};

/// Both passes of a state while it is in the cache.
template <class Arithmetic, bool Masked, storage_scalar T, storage_scalar V, storage_scalar G>
struct row_loss_passes {
  using arithmetic = Arithmetic;

  const row_gradients<Arithmetic, Masked, T, V, G>& gradients;
  double mixture;
  row_scorer scorer;
  std::span<row_factors> factors;

  index_t elements() const { return gradients.op.in.v.columns(); }
  index_t sums_before(index_t i) const { return row_sums_width * gradients.op.of.first(i); }
  double nanoseconds() const { return 0.5 * (1 + gradients.op.of.mean_count()); }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void tile(index_t i, index_t first, index_t last, double* sums, Instructions) const {
    const index_t row = gradients.op.of.first(i), count = gradients.op.of.count(i);
    for (index_t k = 0; k < count; ++k) {
      call_apart<Instructions::value>(row_sums_tile<arithmetic, Masked, T, V>{
          gradients.op.in, mixture, i, row + k, first, last, sums + row_sums_width * k});
    }
  }

  bool conclude(index_t i, const double* sums) const {
    const auto& op = gradients.op;
    const index_t row = op.of.first(i), count = op.of.count(i);
    for (index_t k = 0; k < count; ++k) {
      const auto at = static_cast<std::size_t>(row + k);
      op.rows[at] = scorer.score(scorer.op, i, row + k, as_row_sums(sums + row_sums_width * k), factors[at]);
    }
    if (op.gradient.empty()) return false;
    gradients.begin(i);
    return true;
  }

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void second_pass(index_t i, index_t first, index_t last, Instructions) const {
    gradients.template write<Instructions::value>(i, first, last);
  }
  void finish(index_t i) const { gradients.finish(i); }
  void fence() const { gradients.out.fence(); }
};

}  // namespace tempflow::detail
