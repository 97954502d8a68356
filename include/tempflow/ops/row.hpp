// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The arithmetic of a row, written once for every backend, storage type and operation.
//
// A log-prob is always taken of the *stored* state: sampling rounds y first and then scores what it wrote
// with the same function, in the same order, as training does. So before the first update a log-ratio is
// exactly 0.

#include "tempflow/config.hpp"
#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/scalar.hpp"
#include "tempflow/detail/noise_lanes.hpp"
#include "tempflow/detail/stream.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow::detail {

/// A transition's coefficients in the type a row is computed in.
template <class Real>
struct row_coefficients {
  Real alpha;
  Real beta;
  Real std;

  TEMPFLOW_HD explicit row_coefficients(const transition& step)
      : alpha(static_cast<Real>(step.alpha)),
        beta(static_cast<Real>(step.beta)),
        std(static_cast<Real>(step.std)) {}

  /// alpha x + beta v.
  TEMPFLOW_INLINE Real mean(Real x, Real v) const { return fused_multiply_add(beta, v, alpha * x); }

  /// y - alpha x - beta v.
  TEMPFLOW_INLINE Real residual(Real x, Real v, Real y) const {
    return fused_multiply_add(-beta, v, fused_multiply_add(-alpha, x, y));
  }
};

/// Sum of squared residuals of a tile.
template <class Arithmetic, storage_scalar T>
TEMPFLOW_INLINE double squared_residual(const T* x, const T* v, const T* y,
                                        const row_coefficients<typename Arithmetic::template real<T>>& step,
                                        index_t first, index_t last) {
  const auto sums =
      Arithmetic::template sum<T, 1>(first, last, [=](auto at, auto& partial) TEMPFLOW_INLINE_LAMBDA {
        const auto r = step.residual(at(x), at(v), at(y));
        partial[0] = fused_multiply_add(r, r, partial[0]);
      });
  return sums.value[0];
}

/// Sums of squared residuals and of squared differences to a reference velocity.
template <class Arithmetic, storage_scalar T>
TEMPFLOW_INLINE tile_sums<2> squared_residual_and_difference(
    const T* x, const T* v, const T* y, const T* v_ref,
    const row_coefficients<typename Arithmetic::template real<T>>& step, index_t first, index_t last) {
  return Arithmetic::template sum<T, 2>(first, last, [=](auto at, auto& partial) TEMPFLOW_INLINE_LAMBDA {
    const auto r = step.residual(at(x), at(v), at(y));
    const auto d = at(v) - at(v_ref);
    partial[0] = fused_multiply_add(r, r, partial[0]);
    partial[1] = fused_multiply_add(d, d, partial[1]);
  });
}

/// out[e] = compute(at e) for e in [first, last), rounded to storage: a group at a time into registers, so that
/// a compiler need not know whether out overlaps the inputs. With Instructions that have them, stores go past
/// the caches: for outputs that would push out of them what is still to be read. T: what is read.
template <storage_scalar T, class Real, instruction_set Past = instruction_set::portable,
          bool MayBeInHalves = true, storage_scalar G, class Compute>
TEMPFLOW_INLINE void write_elements(G* out, index_t first, index_t last, const Compute& compute) {
  constexpr bool halves = MayBeInHalves && in_halves<Real, T, G>;
  index_t e = first;
  for (; e + group <= last; e += group) {
    Real value[group];
    visit_group<halves, Real>(e,
                              [&](auto at, int slot) TEMPFLOW_INLINE_LAMBDA { value[slot] = compute(at); });
    if constexpr (std::same_as<G, Real> && can_stream<Past>) {
      stream<Past>(out + e, value);
    } else {
      G stored[group];
      store_group<halves>(value, stored);
      if constexpr (can_stream<Past>) {
        stream<Past>(out + e, stored);
      } else {
        for (int l = 0; l < group; ++l) out[e + l] = stored[l];
      }
    }
  }
  for (; e < last; ++e) out[e] = store<G>(compute(element_at<Real>{e}));
}

/// y = alpha x + beta v over a tile.
template <class Arithmetic, storage_scalar T>
TEMPFLOW_INLINE void advance(const T* x, const T* v, T* y,
                             const row_coefficients<typename Arithmetic::template real<T>>& step,
                             index_t first, index_t last) {
  using real = typename Arithmetic::template real<T>;
  write_elements<T, real>(y, first, last,
                          [=](auto at) TEMPFLOW_INLINE_LAMBDA { return step.mean(at(x), at(v)); });
}

/// out[e] = compute(at e, z_e) for e in [first, last), z the noise of a row; `first` is a multiple of 4.
template <class Real, instruction_set Instructions, storage_scalar T, class Compute>
TEMPFLOW_INLINE void write_with_noise(T* out, noise_key key, noise_id id, index_t first, index_t last,
                                      const Compute& compute) {
  index_t e = first;
  for (; e + noise_chunk <= last; e += noise_chunk) {
    float noise[noise_chunk];
    write_noise_chunk<Instructions>(key, id, e, noise);
    const auto with_noise = [&](auto at)
                                TEMPFLOW_INLINE_LAMBDA { return compute(at, Real{noise[at.index - e]}); };
    write_elements<T, Real, instruction_set::portable, false>(out, e, e + noise_chunk, with_noise);
  }
  for (; e < last; e += 4) {
    const normal_quad noise = noise_block(key, id, e / 4);
    for (index_t k = 0; k < 4 && e + k < last; ++k) {
      out[e + k] = store<T>(compute(element_at<Real>{e + k}, Real{noise.value[k]}));
    }
  }
}

/// y = alpha x + beta v + std z over a tile that starts at a multiple of 4.
template <class Arithmetic, instruction_set Instructions, storage_scalar T>
TEMPFLOW_INLINE void sample(const T* x, const T* v, T* y,
                            const row_coefficients<typename Arithmetic::template real<T>>& step,
                            noise_key key, noise_id id, index_t first, index_t last) {
  using real = typename Arithmetic::template real<T>;
  write_with_noise<real, Instructions>(y, key, id, first, last, [=](auto at, real z) TEMPFLOW_INLINE_LAMBDA {
    return fused_multiply_add(step.std, z, step.mean(at(x), at(v)));
  });
}

}  // namespace tempflow::detail
