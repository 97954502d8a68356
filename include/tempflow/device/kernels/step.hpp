// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// step, ode_step, branch_step and fill_noise on a device: a warp a tile, noise drawn where it is used.

#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/detail/row_coefficients.hpp"

namespace tempflow::detail {

/// The normals of Width elements from `first` on, a multiple of Width.
template <int Width>
TEMPFLOW_INLINE_DEVICE void draw_noise(noise_key key, noise_id id, index_t first, float (&z)[Width]) {
  if constexpr (Width < 4) {
    const normal_quad quad = noise_block(key, id, first / 4);
    const bool upper = first % 4 != 0;
    for (int j = 0; j < Width; ++j) z[j] = upper ? quad.value[4 - Width + j] : quad.value[j];
  } else {
    for (int block = 0; block < Width / 4; ++block) {
      const normal_quad quad = noise_block(key, id, first / 4 + block);
      for (int j = 0; j < 4; ++j) z[4 * block + j] = quad.value[j];
    }
  }
}

/// Draws y of a tile, writes it, and returns the sum of squared residuals of what was written.
template <class Thread, storage_scalar T>
TEMPFLOW_INLINE_DEVICE double sample_tile(const Thread& thread, const warp_tile<T>& tile, const T* x,
                                          const T* v, T* y, const row_coefficients<compute_t<T>>& step,
                                          noise_key key, noise_id id, bool with_sum) {
  using real = compute_t<T>;
  using part = warp_tile<T>;
  real r[part::of_lane];
  dispatch_bool(tile.whole(x, v, y), [&](auto whole) {
    tile.template each_access<whole>(thread, {x, v}, [&](int access, const auto& at) {
      float z[part::width];
      draw_noise(key, id, tile.first + tile.offset(access), z);
      packet<T, part::width> drawn;
      for (int j = 0; j < part::width; ++j) {
        const real at_x = thread.load(at[0].value[j]), at_v = thread.load(at[1].value[j]);
        drawn.value[j] = thread.template store<T>(step.draw(at_x, at_v, real{z[j]}));
        const bool in_row = whole || tile.offset(access) + j < tile.count;
        r[access * part::width + j] =
            in_row ? step.residual(at_x, at_v, thread.load(drawn.value[j])) : real{0};
      }
      tile.template write<whole>(thread, y, access, drawn);
    });
  });
  return with_sum ? tile.sum_of_squares(thread, r, slab_of<T>(thread)) : 0;
}

/// Writes the mean of a tile: the step of the ODE.
template <class Thread, storage_scalar T>
TEMPFLOW_INLINE_DEVICE void advance_tile(const Thread& thread, const warp_tile<T>& tile, const T* x,
                                         const T* v, T* y, const row_coefficients<compute_t<T>>& step) {
  using part = warp_tile<T>;
  dispatch_bool(tile.whole(x, v, y), [&](auto whole) {
    tile.template each_access<whole>(thread, {x, v}, [&](int access, const auto& at) {
      packet<T, part::width> next;
      for (int j = 0; j < part::width; ++j) {
        next.value[j] =
            thread.template store<T>(step.mean(thread.load(at[0].value[j]), thread.load(at[1].value[j])));
      }
      tile.template write<whole>(thread, y, access, next);
    });
  });
}

template <storage_scalar T>
struct step_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  batch_view<const T> x, v;
  batch_view<T> y;
  row_table<transition> steps;
  noise_table noise;
  double* log_probs;  ///< or null
  log_prob_convention convention;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    const auto tile = reduction.tile_of<T>(thread, x.columns());
    const index_t i = tile.row;
    if (i >= reduction.rows) return;
    const double squared =
        sample_tile(thread, tile, x.row(i), v.row(i), y.row(i), row_coefficients<real>(steps[i]), *noise.key,
                    noise.ids[i], log_probs != nullptr);
    if (log_probs == nullptr) return;
    reduction.store_partial(thread, i, tile.index, 0, squared);
    if (!reduction.is_last(thread, i)) return;
    const double of_row = reduction.reduce(thread, i, 0);
    if (thread.lane() == 0) log_probs[i] = gaussian_log_prob(of_row, steps[i], x.columns(), convention);
  }
};

template <storage_scalar T>
struct branch_step_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  batch_view<const T> x, v;
  row_table<transition> trunk_steps, branch_steps;
  noise_table noise;
  batch_view<T> trunk, branches;
  double* log_probs;
  log_prob_convention convention;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    const auto tile = reduction.tile_of<T>(thread, x.columns());
    const index_t i = tile.row, explorations = reduction.width;
    if (i >= reduction.rows) return;
    const T *const xi = x.row(i), *const vi = v.row(i);
    const row_coefficients<real> along(trunk_steps[i]), aside(branch_steps[i]);
    advance_tile(thread, tile, xi, vi, trunk.row(i), along);
    const noise_key key = *noise.key;
    noise_id id = noise.ids[i];
    for (index_t k = 0; k < explorations; ++k, ++id.branch) {  // x and v are in the cache by now
      auto again = tile;
      again.first = thread.launder(tile.first);
      T* const y = branches.row(i * explorations + k);
      reduction.store_partial(thread, i, tile.index, k,
                              sample_tile(thread, again, xi, vi, y, aside, key, id, true));
    }
    if (!reduction.is_last(thread, i)) return;
    for (index_t k = 0; k < explorations; ++k) {
      const double squared = reduction.reduce(thread, i, k);
      if (thread.lane() != 0) continue;
      log_probs[i * explorations + k] = gaussian_log_prob(squared, branch_steps[i], x.columns(), convention);
    }
  }
};

template <storage_scalar T>
struct ode_step_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  batch_view<const T> x, v;
  batch_view<T> y;
  row_table<transition> steps;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using real = compute_t<T>;
    const auto tile = reduction.tile_of<T>(thread, x.columns());
    const index_t i = tile.row;
    if (i >= reduction.rows) return;
    advance_tile(thread, tile, x.row(i), v.row(i), y.row(i), row_coefficients<real>(steps[i]));
  }
};

template <storage_scalar T>
struct fill_noise_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  batch_view<T> out;
  noise_table noise;
  row_reduction reduction;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    using part = warp_tile<T>;
    const auto tile = reduction.tile_of<T>(thread, out.columns());
    const index_t i = tile.row;
    if (i >= reduction.rows) return;
    dispatch_bool(tile.whole(out.row(i)), [&](auto whole) {
      static_for<part::accesses>([&](auto access) {
        float z[part::width];
        draw_noise(*noise.key, noise.ids[i], tile.first + tile.offset(access), z);
        packet<T, part::width> drawn;
        for (int j = 0; j < part::width; ++j) drawn.value[j] = thread.template store<T>(compute_t<T>{z[j]});
        tile.template write<whole>(thread, out.row(i), access, drawn);
      });
    });
  }
};

/// Tiles without sums need no room for them.
template <storage_scalar T>
row_reduction no_row_reduction(index_t rows, index_t elements) {
  return {rows, (elements - 1) / warp_tile<T>::size + 1, 0, nullptr, nullptr};
}

template <class Device, storage_scalar T>
void run(const device_arguments<Device>& arguments, const step_op<T>& op) {
  if (op.x.empty()) return;
  device_call call(arguments, "step");
  call.expects("x", op.x, "v", op.v, "y", op.y);
  const index_t rows = op.x.rows(), elements = op.x.columns();
  double* const log_probs = call.output("log_probs", op.log_probs);
  const bool sums = log_probs != nullptr;
  step_kernel<T> kernel{.x = op.x,
                        .v = op.v,
                        .y = op.y,
                        .steps = op.steps,
                        .noise = {call.on_device(op.noise.key), op.noise.ids},
                        .log_probs = log_probs,
                        .convention = op.convention,
                        .reduction = sums ? make_row_reduction<T>(call, rows, elements, 1)
                                          : no_row_reduction<T>(rows, elements),
                        .tables = {}};
  call.place(kernel.tables, rows, kernel.steps, kernel.noise.ids);
  call.launch(kernel, tile_shape<T>(rows, elements, sums));
  call.finish();
}

template <class Device, storage_scalar T>
void run(const device_arguments<Device>& arguments, const branch_step_op<T>& op) {
  if (op.x.empty()) return;
  device_call call(arguments, "branch_step");
  call.expects("x", op.x, "v", op.v, "trunk", op.trunk, "branches", op.branches);
  const index_t rows = op.x.rows(), elements = op.x.columns();
  branch_step_kernel<T> kernel{.x = op.x,
                               .v = op.v,
                               .trunk_steps = op.trunk_steps,
                               .branch_steps = op.branch_steps,
                               .noise = {call.on_device(op.noise.key), op.noise.ids},
                               .trunk = op.trunk,
                               .branches = op.branches,
                               .log_probs = call.output("log_probs", op.log_probs),
                               .convention = op.convention,
                               .reduction = make_row_reduction<T>(call, rows, elements, op.explorations()),
                               .tables = {}};
  call.place(kernel.tables, rows, kernel.trunk_steps, kernel.branch_steps, kernel.noise.ids);
  call.launch(kernel, tile_shape<T>(rows, elements, true));
  call.finish();
}

template <class Device, storage_scalar T>
void run(const device_arguments<Device>& arguments, const ode_step_op<T>& op) {
  if (op.x.empty()) return;
  device_call call(arguments, "ode_step");
  call.expects("x", op.x, "v", op.v, "y", op.y);
  const index_t rows = op.x.rows(), elements = op.x.columns();
  ode_step_kernel<T> kernel{.x = op.x,
                            .v = op.v,
                            .y = op.y,
                            .steps = op.steps,
                            .reduction = no_row_reduction<T>(rows, elements),
                            .tables = {}};
  call.place(kernel.tables, rows, kernel.steps);
  call.launch(kernel, tile_shape<T>(rows, elements, false));
}

template <class Device, storage_scalar T>
void run(const device_arguments<Device>& arguments, const fill_noise_op<T>& op) {
  if (op.out.empty()) return;
  device_call call(arguments, "fill_noise");
  call.expects("out", op.out);
  const index_t rows = op.out.rows(), elements = op.out.columns();
  fill_noise_kernel<T> kernel{.out = op.out,
                              .noise = {call.on_device(op.noise.key), op.noise.ids},
                              .reduction = no_row_reduction<T>(rows, elements),
                              .tables = {}};
  call.place(kernel.tables, rows, kernel.noise.ids);
  call.launch(kernel, tile_shape<T>(rows, elements, false));
}

}  // namespace tempflow::detail
