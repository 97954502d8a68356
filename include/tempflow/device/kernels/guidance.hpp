// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// guide and guide_gradient on a device: linear a warp per tile; with norms a warp per token, whose lanes sum as
// those of the cpu backend do, element e of the token in lane e mod 32.

#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/ops/detail/guidance_mix.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

template <storage_scalar T, storage_scalar G>
struct guide_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 4;

  batch_view<const T> conditional, unconditional;
  batch_view<G> guided;
  row_table<double> scale;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    constexpr int width = warp_tile<T>::width;
    const auto tile = tiles.tile_of<T>(thread, guided.columns());
    const index_t i = tile.row;
    if (tile.count <= 0) return;
    const guidance_mix<compute_t<T>> mix(scale[i]);
    const T* const rows[] = {tile.of(conditional.row(i)), tile.of(unconditional.row(i))};
    G* const to = tile.of(guided.row(i));
    dispatch_bool(tile.whole(rows[0], rows[1], to), [&](auto whole) {
      tile.template each_read<whole>(thread, rows, [&](int access, const auto& at) {
        compute_t<T> v[width], u[width];
        thread.template load<T>(at[0], v);
        thread.template load<T>(at[1], u);
        for (int j = 0; j < width; ++j) v[j] = mix(v[j], u[j]);
        tile.template write<whole>(thread, to, access, thread.template store<G>(v));
      });
    });
  }
};

template <storage_scalar T, storage_scalar G>
struct guide_gradient_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 4;

  batch_view<const T> gradient;
  batch_view<G> of_conditional, of_unconditional;  ///< one that nobody asks for is the other, and not written
  bool writes_conditional, writes_unconditional;
  row_table<double> scale;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    constexpr int width = warp_tile<T>::width;
    const auto tile = tiles.tile_of<T>(thread, gradient.columns());
    const index_t i = tile.row;
    if (tile.count <= 0) return;
    const guidance_mix<compute_t<T>> mix(scale[i]);
    const T* const rows[] = {tile.of(gradient.row(i))};
    G *const of_c = tile.of(of_conditional.row(i)), *const of_u = tile.of(of_unconditional.row(i));
    dispatch_bool(tile.whole(rows[0], of_c, of_u), [&](auto whole) {
      tile.template each_read<whole>(thread, rows, [&](int access, const auto& at) {
        compute_t<T> g[width], scaled[width];
        thread.template load<T>(at[0], g);
        if (writes_conditional) {
          for (int j = 0; j < width; ++j) scaled[j] = mix.scale * g[j];
          tile.template write<whole>(thread, of_c, access, thread.template store<G>(scaled));
        }
        if (writes_unconditional) {
          for (int j = 0; j < width; ++j) scaled[j] = mix.rest * g[j];
          tile.template write<whole>(thread, of_u, access, thread.template store<G>(scaled));
        }
      });
    });
  }
};

/// The tokens of a batch, a warp for each.
struct warp_tokens {
  index_t rows, of_row, channels;

  /// The first element of the warp's token in its row, or -1 for a warp beyond the tokens.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE index_t first(const Thread& thread) const {
    const index_t token = thread.block() * thread.warps() + thread.warp();
    return thread.row() < rows && token < of_row ? token * channels : -1;
  }

  /// Calls visit(element of the token) for the lane's.
  template <class Thread, class Visit>
  TEMPFLOW_INLINE_DEVICE void each(const Thread& thread, const Visit& visit) const {
    for (index_t e = thread.lane(); e < channels; e += warp_lanes) visit(e);
  }

  template <storage_scalar T>
  launch_shape shape() const {
    return tile_shape<T>(rows, of_row * warp_tile<T>::size);
  }
};

template <storage_scalar T, storage_scalar G>
struct guide_tokens_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 4;

  batch_view<const T> conditional, unconditional;
  batch_view<G> guided;
  row_table<double> scale;
  warp_tokens tokens;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    const index_t i = thread.row(), first = tokens.first(thread);
    if (first < 0) return;
    const guidance_mix<real> mix(scale[i]);
    const T *const c = conditional.row(i) + first, *const u = unconditional.row(i) + first;
    G* const to = guided.row(i) + first;
    real sums[2] = {};
    tokens.each(thread, [&](index_t e) { mix.add_squares(real{load(c[e])}, real{load(u[e])}, sums); });
    const real factor = kept_norm(fold(thread, sums[0]), fold(thread, sums[1]));
    tokens.each(thread,
                [&](index_t e) { to[e] = store<G>(factor * mix(real{load(c[e])}, real{load(u[e])})); });
  }
};

template <storage_scalar T, storage_scalar G>
struct guide_tokens_gradient_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 4;

  batch_view<const T> gradient, conditional, unconditional;
  batch_view<G> of_conditional, of_unconditional;
  row_table<double> scale;
  warp_tokens tokens;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    const index_t i = thread.row(), first = tokens.first(thread);
    if (first < 0) return;
    const guidance_mix<real> mix(scale[i]);
    const T *const g = gradient.row(i) + first, *const c = conditional.row(i) + first,
                   *const u = unconditional.row(i) + first;
    G* const of_c = of_conditional.data() != nullptr ? of_conditional.row(i) + first : nullptr;
    G* const of_u = of_unconditional.data() != nullptr ? of_unconditional.row(i) + first : nullptr;
    real sums[3] = {};
    tokens.each(thread, [&](index_t e) {
      mix.add_products(real{load(c[e])}, real{load(u[e])}, real{load(g[e])}, sums);
    });
    const real square_of_m = fold(thread, sums[0]), square_of_c = fold(thread, sums[1]);
    const kept_norm_gradient<real> token(square_of_m, square_of_c, fold(thread, sums[2]));
    tokens.each(thread, [&](index_t e) {
      const real of_token = real{load(c[e])};
      const real of_mix = token.of_mix(mix(of_token, real{load(u[e])}), real{load(g[e])});
      if (of_c != nullptr) {
        of_c[e] = store<G>(token.of_conditional(of_token, mix.scale * of_mix));
      }
      if (of_u != nullptr) of_u[e] = store<G>(mix.rest * of_mix);
    });
  }
};

template <class Device, storage_scalar T, storage_scalar G>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const guide_op<T, G>& op) {
  if (op.guided.empty()) return;
  device_call call(arguments, "guide");
  call.expects("conditional", op.conditional, "unconditional", op.unconditional, "guided", op.guided);
  const index_t rows = op.guided.rows(), elements = op.guided.columns();
  if (op.channels > 0) {
    guide_tokens_kernel<T, G> kernel{.conditional = op.conditional,
                                     .unconditional = op.unconditional,
                                     .guided = op.guided,
                                     .scale = op.scale,
                                     .tokens = {rows, elements / op.channels, op.channels},
                                     .tables = {}};
    call.place(kernel.tables, kernel.scale);
    return call.launch(kernel, kernel.tokens.template shape<T>());
  }
  guide_kernel<T, G> kernel{.conditional = op.conditional,
                            .unconditional = op.unconditional,
                            .guided = op.guided,
                            .scale = op.scale,
                            .tiles = no_row_reduction<T>(rows, elements),
                            .tables = {}};
  call.place(kernel.tables, kernel.scale);
  call.launch(kernel, tile_shape<T>(rows, elements));
}

template <class Device, storage_scalar T, storage_scalar G>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const guide_gradient_op<T, G>& op) {
  if (op.gradient.empty()) return;
  device_call call(arguments, "guide_gradient");
  call.expects("gradient", op.gradient, "of_conditional", op.of_conditional, "of_unconditional",
               op.of_unconditional);
  const index_t rows = op.gradient.rows(), elements = op.gradient.columns();
  if (op.channels > 0) {
    call.expects("conditional", op.conditional, "unconditional", op.unconditional);
    guide_tokens_gradient_kernel<T, G> kernel{.gradient = op.gradient,
                                              .conditional = op.conditional,
                                              .unconditional = op.unconditional,
                                              .of_conditional = op.of_conditional,
                                              .of_unconditional = op.of_unconditional,
                                              .scale = op.scale,
                                              .tokens = {rows, elements / op.channels, op.channels},
                                              .tables = {}};
    call.place(kernel.tables, kernel.scale);
    return call.launch(kernel, kernel.tokens.template shape<T>());
  }
  const bool writes_conditional = is_given(op.of_conditional),
             writes_unconditional = is_given(op.of_unconditional);
  if (!writes_conditional && !writes_unconditional) return;
  guide_gradient_kernel<T, G> kernel{
      .gradient = op.gradient,
      .of_conditional = writes_conditional ? op.of_conditional : op.of_unconditional,
      .of_unconditional = writes_unconditional ? op.of_unconditional : op.of_conditional,
      .writes_conditional = writes_conditional,
      .writes_unconditional = writes_unconditional,
      .scale = op.scale,
      .tiles = no_row_reduction<T>(rows, elements),
      .tables = {}};
  call.place(kernel.tables, kernel.scale);
  call.launch(kernel, tile_shape<T>(rows, elements));
}

}  // namespace tempflow::detail
