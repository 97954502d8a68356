// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Loops over the elements of a row on a host, written once for every instruction set, storage type and
// operation.
//
// A log-prob is always taken of the *stored* state: sampling rounds y first and then scores what it wrote
// with the same function, in the same order, as training does. So before the first update a log-ratio is
// exactly 0.

#include <cstdint>
#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/core/noise_lanes.hpp"
#include "tempflow/core/scalar.hpp"
#include "tempflow/ops/detail/row_coefficients.hpp"
#include "tempflow/ops/host/stream.hpp"

namespace tempflow::detail {

/// Sum of squared residuals of a tile.
template <class Arithmetic, instruction_set Instructions, storage_scalar T, storage_scalar V,
          class Meanwhile = nothing>
TEMPFLOW_INLINE_HOST double squared_residual(
    const T* x, const V* v, const T* y, const row_coefficients<typename Arithmetic::template real<T>>& step,
    index_t first, index_t last, const Meanwhile& meanwhile = {}) {
  const auto add = [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& partial) {
    const auto r = step.residual(at(x), at(v), at(y));
    partial[0] = fused_multiply_add(r, r, partial[0]);
  };
  return Arithmetic::template sum<1, Instructions, T, V>(first, last, add, meanwhile).value[0];
}

/// Sum of squared residuals of the elements of a tile that count, and the number of these.
template <class Arithmetic, instruction_set Instructions, storage_scalar T, storage_scalar V>
TEMPFLOW_INLINE_HOST tile_sums<2> masked_squared_residual(
    const T* x, const V* v, const T* y, const std::uint8_t* mask,
    const row_coefficients<typename Arithmetic::template real<T>>& step, index_t first, index_t last) {
  using real = typename Arithmetic::template real<T>;
  const auto add = [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& partial) {
    using value = std::remove_reference_t<decltype(partial[0])>;
    const auto counts = at(mask);
    const auto r = select(counts, step.residual(at(x), at(v), at(y)), value(real{0}));
    partial[0] = fused_multiply_add(r, r, partial[0]);
    partial[1] = partial[1] + select(counts, value(real{1}), value(real{0}));
  };
  return Arithmetic::template sum<2, Instructions, T, V>(first, last, add);
}

/// Sums of squared residuals and of squared differences to a reference velocity.
template <class Arithmetic, instruction_set Instructions, storage_scalar T, storage_scalar V,
          class Meanwhile = nothing>
TEMPFLOW_INLINE_HOST tile_sums<2> squared_residual_and_difference(
    const T* x, const V* v, const T* y, const V* v_ref,
    const row_coefficients<typename Arithmetic::template real<T>>& step, index_t first, index_t last,
    const Meanwhile& meanwhile = {}) {
  const auto add = [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& partial) {
    const auto r = step.residual(at(x), at(v), at(y));
    const auto d = at(v) - at(v_ref);
    partial[0] = fused_multiply_add(r, r, partial[0]);
    partial[1] = fused_multiply_add(d, d, partial[1]);
  };
  return Arithmetic::template sum<2, Instructions, T, V>(first, last, add, meanwhile);
}

/// Sum of squared differences to a reference velocity. T: of the states, which decide the type with it.
template <class Arithmetic, instruction_set Instructions, storage_scalar T, storage_scalar V>
TEMPFLOW_INLINE_HOST double squared_difference(const V* v, const V* v_ref, index_t first, index_t last) {
  const auto add = [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& partial) {
    const auto d = at(v) - at(v_ref);
    partial[0] = fused_multiply_add(d, d, partial[0]);
  };
  return Arithmetic::template sum<1, Instructions, T, V>(first, last, add).value[0];
}

/// out[e] = compute(at e) for e in [first, last), rounded to storage: a group at a time into registers, so
/// that a compiler need not know whether out overlaps the inputs. Streamed stores go past the caches. Rows: what
/// is read.
template <class Real, instruction_set Instructions, bool Streamed, storage_scalar... Rows, storage_scalar G,
          class Compute>
TEMPFLOW_INLINE_HOST void write_elements(G* out, index_t first, index_t last, const Compute& compute) {
  using plan = visit_plan<Real, Instructions, G, Rows...>;
  index_t e = first;
  for (; e + group <= last; e += group) {
    typename plan::value value[plan::visits];
    plan::group_from(e, [&] TEMPFLOW_INLINE_LAMBDA(auto at, int i) { value[i] = compute(at); });
    store_group<plan, Streamed>(value, out + e);
  }
  for (; e < last; ++e) out[e] = store<G>(compute(element_at<Real>{e}));
}

/// y = alpha x + beta v over a tile.
template <class Arithmetic, instruction_set Instructions, storage_scalar T, storage_scalar V>
TEMPFLOW_INLINE_HOST void advance(const T* x, const V* v, T* y,
                                  const row_coefficients<typename Arithmetic::template real<T>>& step,
                                  index_t first, index_t last) {
  using real = typename Arithmetic::template real<T>;
  write_elements<real, Instructions, false, T, V>(
      y, first, last, [=] TEMPFLOW_INLINE_LAMBDA(auto at) { return step.mean(at(x), at(v)); });
}

/// Calls visit(noise, begin, end) for chunks of the elements [first, last) of a row. Element 0 of it takes the noise of
/// element `offset`; `first` and `offset` are multiples of 4.
template <instruction_set Instructions, class Visit>
TEMPFLOW_INLINE_HOST void each_noise_chunk(noise_key key, noise_id id, index_t offset, index_t first,
                                           index_t last, const Visit& visit) {
  for (index_t e = first; e < last; e += noise_chunk) {
    const index_t end = last - e < noise_chunk ? last : e + noise_chunk;
    float noise[noise_chunk];
    write_noise<Instructions>(key, id, offset + e, end - e, noise);
    visit(noise, e, end);
  }
}

/// y = alpha x + beta v + std z over a tile, whose start and offset each_noise_chunk takes. opposite: alpha x +
/// beta v - std z, or null.
template <class Arithmetic, instruction_set Instructions, storage_scalar T, storage_scalar V>
TEMPFLOW_INLINE_HOST void sample(const T* x, const V* v, T* y,
                                 const row_coefficients<typename Arithmetic::template real<T>>& step,
                                 noise_key key, noise_id id, index_t offset, index_t first, index_t last,
                                 T* opposite = nullptr) {
  using real = typename Arithmetic::template real<T>;
  each_noise_chunk<Instructions>(
      key, id, offset, first, last,
      [&] TEMPFLOW_INLINE_LAMBDA(const auto& noise, index_t begin, index_t end) {
        const auto draw_with = [&] TEMPFLOW_INLINE_LAMBDA(T * to, const row_coefficients<real>& of) {
          const float* const normals = noise;
          write_elements<real, Instructions, false, T, V, float>(
              to, begin, end, [=] TEMPFLOW_INLINE_LAMBDA(auto at) {
                return of.draw(at(x), at(v), decltype(at){at.index - begin}(normals));
              });
        };
        draw_with(y, step);
        if (opposite != nullptr) draw_with(opposite, step.opposite());
      });
}

}  // namespace tempflow::detail
