// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// guide and guide_gradient on host backends. The sums of a token are those of a tile (core/arithmetic.hpp), however
// many elements it has.

#include <algorithm>

#include "tempflow/backend/dispatch.hpp"
#include "tempflow/ops/detail/guidance_mix.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/row.hpp"

namespace tempflow::detail {

/// A batch in blocks of whole tokens, or of elements where there are no tokens.
struct token_blocks {
  index_t rows, columns, size;

  token_blocks(index_t of_rows, index_t elements, index_t channels)
      : rows(of_rows), columns(elements), size(channels == 0 ? usual : (usual / channels + 1) * channels) {}

  index_t of_row() const { return columns > 0 ? (columns - 1) / size + 1 : 0; }
  index_t count() const { return rows * of_row(); }
  double elements() const { return static_cast<double>((std::min)(size, columns)); }

  TEMPFLOW_INLINE_HOST index_t row(index_t block) const { return block / of_row(); }
  TEMPFLOW_INLINE_HOST index_t first(index_t block) const { return block % of_row() * size; }
  TEMPFLOW_INLINE_HOST index_t last(index_t block) const {
    return columns - first(block) < size ? columns : first(block) + size;
  }

 private:
  static constexpr index_t usual = 16384;
};

/// As write_elements, for two outputs that may be null, or take the place of what is read.
template <class Real, instruction_set Instructions, storage_scalar T, storage_scalar G, class Compute>
TEMPFLOW_INLINE_HOST void write_two(G* of_c, G* of_u, index_t first, index_t last, const Compute& compute) {
  using plan = visit_plan<Real, Instructions, G, T>;
  using value = typename plan::value;
  index_t e = first;
  for (; e + group <= last; e += group) {
    value c[plan::visits], u[plan::visits];
    plan::group_from(e, [&] TEMPFLOW_INLINE_LAMBDA(auto at, int i) { compute(at, c[i], u[i]); });
    if (of_c != nullptr) store_group<plan, false>(c, of_c + e);
    if (of_u != nullptr) store_group<plan, false>(u, of_u + e);
  }
  for (; e < last; ++e) {
    Real c, u;
    compute(element_at<Real>{e}, c, u);
    if (of_c != nullptr) of_c[e] = store<G>(c);
    if (of_u != nullptr) of_u[e] = store<G>(u);
  }
}

template <class Arithmetic, storage_scalar T, storage_scalar G>
struct guide_block {
  using kernel_tag = kernel;
  using real = typename Arithmetic::template real<T>;

  const guide_op<T, G>& op;
  token_blocks blocks;

  double nanoseconds() const { return (op.channels == 0 ? 0.3 : 0.6) * blocks.elements(); }

  template <class Instructions = compiled_for_any>
  TEMPFLOW_INLINE_HOST void operator()(index_t block, Instructions = {}) const {
    const index_t i = blocks.row(block), first = blocks.first(block), last = blocks.last(block);
    const T *const c = op.conditional.row(i), *const u = op.unconditional.row(i);
    G* const v = op.guided.row(i);
    const guidance_mix<real> mix(op.scale[i]);
    if (op.channels == 0) {
      write_elements<real, Instructions::value, false, T>(
          v, first, last, [=] TEMPFLOW_INLINE_LAMBDA(auto at) { return mix(at(c), at(u)); });
      return;
    }
    for (index_t e = first; e < last; e += op.channels) {
      const auto add = [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& sums) {
        mix.add_squares(at(c), at(u), sums);
      };
      const auto sums = Arithmetic::template sum<2, Instructions::value, T>(e, e + op.channels, add);
      const real factor = kept_norm(static_cast<real>(sums.value[0]), static_cast<real>(sums.value[1]));
      write_elements<real, Instructions::value, false, T>(
          v, e, e + op.channels, [=] TEMPFLOW_INLINE_LAMBDA(auto at) { return factor * mix(at(c), at(u)); });
    }
  }
};

template <class Arithmetic, storage_scalar T, storage_scalar G>
struct guide_gradient_block {
  using kernel_tag = kernel;
  using real = typename Arithmetic::template real<T>;

  const guide_gradient_op<T, G>& op;
  token_blocks blocks;

  double nanoseconds() const { return (op.channels == 0 ? 0.3 : 0.9) * blocks.elements(); }

  template <class Instructions = compiled_for_any>
  TEMPFLOW_INLINE_HOST void operator()(index_t block, Instructions = {}) const {
    const index_t i = blocks.row(block), first = blocks.first(block), last = blocks.last(block);
    const T* const g = op.gradient.row(i);
    G* const of_c = op.of_conditional.data() != nullptr ? op.of_conditional.row(i) : nullptr;
    G* const of_u = op.of_unconditional.data() != nullptr ? op.of_unconditional.row(i) : nullptr;
    const guidance_mix<real> mix(op.scale[i]);
    if (op.channels == 0) {
      write_two<real, Instructions::value, T>(of_c, of_u, first, last,
                                              [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& to_c, auto& to_u) {
                                                to_c = mix.scale * at(g);
                                                to_u = mix.rest * at(g);
                                              });
      return;
    }
    const T *const c = op.conditional.row(i), *const u = op.unconditional.row(i);
    for (index_t e = first; e < last; e += op.channels) {
      const auto add = [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& sums) {
        mix.add_products(at(c), at(u), at(g), sums);
      };
      const auto sums = Arithmetic::template sum<3, Instructions::value, T>(e, e + op.channels, add);
      const kept_norm_gradient<real> token(static_cast<real>(sums.value[0]), static_cast<real>(sums.value[1]),
                                           static_cast<real>(sums.value[2]));
      write_two<real, Instructions::value, T>(of_c, of_u, e, e + op.channels,
                                              [=] TEMPFLOW_INLINE_LAMBDA(auto at, auto& to_c, auto& to_u) {
                                                const auto of_mix = token.of_mix(mix(at(c), at(u)), at(g));
                                                to_c = token.of_conditional(at(c), mix.scale * of_mix);
                                                to_u = mix.rest * of_mix;
                                              });
    }
  }
};

template <host_backend B, storage_scalar T, storage_scalar G>
void run(const operation_arguments<B>& arguments, const guide_op<T, G>& op) {
  const token_blocks blocks(op.guided.rows(), op.guided.columns(), op.channels);
  arguments.backend().for_each_index(blocks.count(), guide_block<typename B::arithmetic, T, G>{op, blocks});
}

template <host_backend B, storage_scalar T, storage_scalar G>
void run(const operation_arguments<B>& arguments, const guide_gradient_op<T, G>& op) {
  const token_blocks blocks(op.gradient.rows(), op.gradient.columns(), op.channels);
  arguments.backend().for_each_index(blocks.count(),
                                     guide_gradient_block<typename B::arithmetic, T, G>{op, blocks});
}

}  // namespace tempflow::detail
