// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// step, ode_step, branch_step and fill_noise on a device: a warp per tile, noise drawn where it is used.

#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/device/kernels/sample_tile.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/detail/row_coefficients.hpp"

namespace tempflow::detail {

template <storage_scalar T, storage_scalar V>
struct step_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = sizeof(V) > sizeof(T) ? 1 : 3;  // wide velocities take more registers

  batch_view<const T> x;
  batch_view<const V> v;
  batch_view<T> y;
  row_table<transition> steps;
  noise_table noise;
  double* log_probs;  ///< or null
  log_prob_convention convention;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = reduction.tile_of<T>(thread, x.columns());
    const index_t i = tile.row;
    if (tile.count > 0) {
      const noise_draw draw = noise[i];
      // The identity is asked for again: kept for both, it is a register too many.
      const double squared = sample_tile<reads::once>(
          thread, tile, {tile.of(x.row(i))}, {tile.of(v.row(i))}, tile.of(y.row(i)),
          row_coefficients<compute_t<T>>(steps[i], draw),
          tile_noise<T>(*noise.key, noise[thread.launder(i)].id, tile, noise.first_block));
      if (log_probs != nullptr) reduction.store_partial(thread, tile, 0, squared);
    }
    if (log_probs == nullptr || !reduction.is_last(thread, tile)) return;
    const double squared = reduction.reduce(thread, i, 0);
    if (thread.lane() == 0) log_probs[i] = gaussian_log_prob(squared, steps[i], x.columns(), convention);
  }
};

template <storage_scalar T, storage_scalar V>
struct branch_step_kernel {
  static constexpr int max_warps = tile_warps<T>;
  // As many as leave x and v their room in the cache; wide velocities take more registers.
  static constexpr int min_blocks = sizeof(V) > sizeof(T) ? 1 : 2;

  batch_view<const T> x;
  batch_view<const V> v;
  row_table<transition> trunk_steps, branch_steps;
  noise_table noise;
  batch_view<T> trunk, branches;
  double* log_probs;
  log_prob_convention convention;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = reduction.tile_of<T>(thread, x.columns());
    const index_t i = tile.row, explorations = reduction.width;
    if (tile.count > 0) write_tile(thread, tile);
    if (!reduction.is_last(thread, tile)) return;
    for (index_t k = 0; k < explorations; ++k) {
      const double squared = reduction.reduce(thread, i, k);
      if (thread.lane() != 0) continue;
      log_probs[i * explorations + k] = gaussian_log_prob(squared, branch_steps[i], x.columns(), convention);
    }
  }

 private:
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE void write_tile(const Thread& thread, const warp_tile<T>& tile) const {
    using real = compute_t<T>;
    const index_t i = tile.row, explorations = reduction.width;
    const T* const of_x[] = {tile.of(x.row(i))};
    const V* const of_v[] = {tile.of(v.row(i))};
    if (trunk.data() != nullptr) {
      advance_tile<reads::again>(thread, tile, of_x, of_v, tile.of(trunk.row(i)),
                                 row_coefficients<real>(trunk_steps[i]));
    }
    const noise_key key = *noise.key;
    noise_id id = noise.ids[i];
    for (index_t k = 0; k < explorations; ++k, ++id.branch) {  // x and v are in the cache by now
      const noise_draw draw(id, noise.antithetic);
      const row_coefficients<real> aside(branch_steps[i], draw);
      auto again = tile;
      again.first = thread.launder(tile.first);
      const noise_key same{.seed = thread.launder(key.seed), .update = thread.launder(key.update)};
      reduction.store_partial(
          thread, tile, k,
          sample_tile<reads::again>(thread, again, of_x, of_v, tile.of(branches.row(i * explorations + k)),
                                    aside, tile_noise<T>(same, draw.id, again, noise.first_block)));
    }
  }
};

template <storage_scalar T, storage_scalar V>
struct ode_step_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 4;

  batch_view<const T> x;
  batch_view<const V> v;
  batch_view<T> y;
  row_table<transition> steps;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = tiles.tile_of<T>(thread, x.columns());
    const index_t i = tile.row;
    if (tile.count <= 0) return;
    advance_tile<reads::once>(thread, tile, {tile.of(x.row(i))}, {tile.of(v.row(i))}, tile.of(y.row(i)),
                              row_coefficients<compute_t<T>>(steps[i]));
  }
};

template <storage_scalar T>
struct fill_noise_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 4;

  batch_view<T> out;
  noise_table noise;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    constexpr int width = warp_tile<T>::width;
    const auto tile = tiles.tile_of<T>(thread, out.columns());
    if (tile.count <= 0) return;
    const noise_draw draw = noise[tile.row];
    const compute_t<T> sign = draw.negated ? -1 : 1;
    const tile_noise<T> normals(*noise.key, draw.id, tile, noise.first_block);
    T* const to = tile.of(out.row(tile.row));
    dispatch_bool(tile.whole(to), [&](auto whole) {
      tile.template each_access<whole>(thread, [&](int access) {
        float z[width];
        compute_t<T> drawn[width];
        normals.draw(access, z);
        for (int j = 0; j < width; ++j) drawn[j] = sign * z[j];
        tile.template write<whole>(thread, to, access, thread.template store<T>(drawn));
      });
    });
  }
};

template <class Device, storage_scalar T, storage_scalar V>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const step_op<T, V>& op) {
  if (op.x.empty()) return;
  device_call call(arguments, "step");
  call.expects("x", op.x, "v", op.v, "y", op.y);
  const index_t rows = op.x.rows(), elements = op.x.columns();
  double* const log_probs = call.output("log_probs", op.log_probs);
  const bool sums = log_probs != nullptr;
  step_kernel<T, V> kernel{.x = op.x,
                           .v = op.v,
                           .y = op.y,
                           .steps = op.steps,
                           .noise = call.on_device(op.noise),
                           .log_probs = log_probs,
                           .convention = op.convention,
                           .reduction = sums ? make_row_reduction<T>(call, rows, elements, 1)
                                             : no_row_reduction<T>(rows, elements),
                           .tables = {}};
  call.place(kernel.tables, kernel.steps, kernel.noise.ids);
  call.launch(kernel, reduction_shape<T>(rows, elements));
  call.finish();
}

template <class Device, storage_scalar T, storage_scalar V>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const branch_step_op<T, V>& op) {
  if (op.x.empty()) return;
  device_call call(arguments, "branch_step");
  call.expects("x", op.x, "v", op.v, "trunk", op.trunk, "branches", op.branches);
  const index_t rows = op.x.rows(), elements = op.x.columns();
  branch_step_kernel<T, V> kernel{.x = op.x,
                                  .v = op.v,
                                  .trunk_steps = op.trunk_steps,
                                  .branch_steps = op.branch_steps,
                                  .noise = call.on_device(op.noise),
                                  .trunk = op.trunk,
                                  .branches = op.branches,
                                  .log_probs = call.output("log_probs", op.log_probs),
                                  .convention = op.convention,
                                  .reduction = make_row_reduction<T>(call, rows, elements, op.explorations()),
                                  .tables = {}};
  call.place(kernel.tables, kernel.trunk_steps, kernel.branch_steps, kernel.noise.ids);
  call.launch(kernel, reduction_shape<T>(rows, elements));
  call.finish();
}

template <class Device, storage_scalar T, storage_scalar V>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const ode_step_op<T, V>& op) {
  if (op.x.empty()) return;
  device_call call(arguments, "ode_step");
  call.expects("x", op.x, "v", op.v, "y", op.y);
  const index_t rows = op.x.rows(), elements = op.x.columns();
  ode_step_kernel<T, V> kernel{.x = op.x,
                               .v = op.v,
                               .y = op.y,
                               .steps = op.steps,
                               .tiles = no_row_reduction<T>(rows, elements),
                               .tables = {}};
  call.place(kernel.tables, kernel.steps);
  call.launch(kernel, tile_shape<T>(rows, elements));
}

template <class Device, storage_scalar T>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const fill_noise_op<T>& op) {
  if (op.out.empty()) return;
  device_call call(arguments, "fill_noise");
  call.expects("out", op.out);
  const index_t rows = op.out.rows(), elements = op.out.columns();
  fill_noise_kernel<T> kernel{.out = op.out,
                              .noise = call.on_device(op.noise),
                              .tiles = no_row_reduction<T>(rows, elements),
                              .tables = {}};
  call.place(kernel.tables, kernel.noise.ids);
  call.launch(kernel, tile_shape<T>(rows, elements));
}

}  // namespace tempflow::detail
