// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The general loss on a device: sums (row_sums.hpp), then gradients from the factors of each row.

#include <concepts>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "tempflow/device/kernels/policy_passes.hpp"
#include "tempflow/device/kernels/row_sums.hpp"

namespace tempflow::detail {

/// A tile of a state's gradient for each warp. Elements: all_elements or masked_elements.
template <storage_scalar T, storage_scalar V, storage_scalar G, bool HasOld, class Elements>
struct row_gradient_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 2;

  row_batches<T, V, HasOld> in;
  sibling_rows of;
  Elements counted;
  row_table<transition> transitions;
  row_table<row_factors> factors;
  std::uint32_t* overflows;  ///< of states, or null
  batch_view<G> gradient;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = tiles.tile_from_end<T>(thread, in.v.columns());
    if (tile.count <= 0) return;
    const index_t state = tile.row, end = of.first(state + 1);
    double of_reference = 0, of_old = 0;
    index_t first = end;  // of the rows whose r counts
    for (index_t row = of.first(state); row < end; ++row) {
      of_reference += factors[row].reference, of_old += factors[row].old;
      if (first == end && static_cast<real>(factors[row].residual) != 0) first = row;
    }
    const auto reference = static_cast<real>(of_reference), old = static_cast<real>(of_old);
    const row_coefficients<real> step(transitions[state]);
    const T* const rows[] = {tile.of(in.x.row(state))};
    const T* const y = tile.of(in.y.data());
    G* const to = tile.of(gradient.row(state));
    bool fit = true;
    in.with_velocities(
        tile, state,
        [&](auto whole, const auto& velocities) {
          if (first == end && reference == 0 && old == 0) return write_zeros<whole>(thread, tile, to);
          const auto visit = [&](int access, const auto& at, const auto& of_v, const auto&... counts) {
            real at_x[width], at_v[width], d[width], o[width], r[width], g[width];
            thread.template load<T>(at[0], at_x);
            in.load(thread, of_v, at_v, d, o);
            for (int j = 0; j < width; ++j) g[j] = policy_gradient(real{0}, at_v[j]);
            for (index_t row = first; row < end; ++row) {
              const auto factor = static_cast<real>(factors[row].residual);
              if (factor == 0) continue;
              const auto words = tile.template read<whole>(thread, tile.of(in.y.row(row)), access);
              thread.template load<T>(words, r);
              for (int j = 0; j < width; ++j) {
                r[j] = step.residual(at_x[j], at_v[j], r[j]);
                g[j] =
                    row == first ? policy_gradient(factor, r[j]) : policy_gradient_plus(g[j], factor, r[j]);
              }
            }
            for (int j = 0; j < width; ++j) {
              g[j] = policy_gradient_plus(g[j], reference, d[j]);
              if constexpr (HasOld) g[j] = policy_gradient_plus(g[j], old, o[j]);
            }
            (leave_out(counts, g), ...);
            if constexpr (std::same_as<G, float16>) fit = fit && fit_fp16(g);
            tile.template write<whole>(thread, to, access, thread.template store<G>(g));
          };
          counted.template each_read<whole>(thread, tile, rows, velocities, state, visit);
        },
        counted.whole(tile, state), rows[0], y, y + in.y.row_stride(), to);
    if constexpr (std::same_as<G, float16>) {
      if (!fit) thread.set(overflows + state);
    }
  }

 private:
  using real = compute_t<T>;
  static constexpr int width = warp_tile<T>::width;
};

/// Launches the sums of an operation. To: what is made of them.
template <bool HasOld, class Device, storage_scalar T, storage_scalar V, class Elements, class To,
          class Place>
TEMPFLOW_HIDDEN void launch_row_sums(device_call<Device>& call, const row_inputs<T, V>& in,
                                     const sibling_tables& tables, double mixture, const Elements& counted,
                                     To&& to, const Place& place) {
  using kernel_type = row_sums_kernel<T, V, HasOld, Elements, To>;
  const index_t rows = in.of.rows(), elements = in.v.columns();
  if (rows < 1) return;
  kernel_type kernel{.in = {in.x, in.y, in.v, in.v_ref, in.v_old},
                     .states = {std::span(tables.states)},
                     .counted = counted,
                     .transitions = in.transitions,
                     .mixture = mixture,
                     .to = std::move(to),
                     .reduction = make_row_reduction<T>(call, rows, elements, kernel_type::sums),
                     .tables = {}};
  place(kernel);
  call.launch(kernel, reduction_shape<T>(rows, elements, kernel_type::slabs));
}

/// Calls body(elements): all, or those that a mask counts.
template <class Device, storage_scalar T, storage_scalar V, class Body>
void with_elements(device_call<Device>& call, const row_inputs<T, V>& in, const Body& body) {
  if (in.mask.given()) {
    body(count_elements(call, in.mask));
  } else {
    body(all_elements{});
  }
}

/// Launches the gradients of an operation, and what clears those that overflow.
template <bool HasOld, class Device, storage_scalar T, storage_scalar V, storage_scalar G, class Elements>
TEMPFLOW_HIDDEN void launch_row_gradients(device_call<Device>& call, const row_inputs<T, V>& in,
                                          const sibling_tables& tables, const Elements& counted,
                                          std::span<const row_factors> factors, batch_view<G> gradient,
                                          policy_row* rows) {
  const index_t states = in.of.states(), elements = in.v.columns();
  std::uint32_t* overflows = nullptr;
  if constexpr (std::same_as<G, float16>) {
    overflows = call.template take<std::uint32_t>(states);
    call.device().clear(overflows, sizeof(std::uint32_t) * static_cast<std::size_t>(states));
  }
  row_gradient_kernel<T, V, G, HasOld, Elements> write{.in = {in.x, in.y, in.v, in.v_ref, in.v_old},
                                                       .of = {std::span(tables.offsets)},
                                                       .counted = counted,
                                                       .transitions = in.transitions,
                                                       .factors = {factors},
                                                       .overflows = overflows,
                                                       .gradient = gradient,
                                                       .tiles = no_row_reduction<T>(states, elements),
                                                       .tables = {}};
  call.place(write.tables, write.transitions, write.factors, write.of.offsets);
  call.launch(write, tile_shape<T>(states, elements));
  if constexpr (std::same_as<G, float16>) {
    clear_rows_kernel<G, sibling_rows> clear{.overflows = overflows,
                                             .of = {std::span(tables.offsets)},
                                             .rows = rows,
                                             .gradient = gradient,
                                             .tiles = no_row_reduction<G>(states, elements),
                                             .tables = {}};
    call.place(clear.tables, clear.of.offsets);
    call.launch(clear, tile_shape<G>(states, elements));
  }
}

/// Calls body(std::true_type{}) or body(std::false_type{}), on the host.
template <class Body>
void with_old(bool has_old, const Body& body) {
  if (has_old) {
    body(std::true_type{});
  } else {
    body(std::false_type{});
  }
}

template <class Device, storage_scalar T, storage_scalar V>
void expect_row_inputs(const device_call<Device>& call, const row_inputs<T, V>& in) {
  call.expects("x", in.x, "y", in.y, "v", in.v, "v_ref", in.v_ref, "v_old", in.v_old);
}

template <class Device, storage_scalar T, storage_scalar V>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const row_sums_op<T, V>& op) {
  if (op.in.of.rows() < 1) return;
  device_call call(arguments, "policy_sums");
  expect_row_inputs(call, op.in);
  const sibling_tables tables(op.in.of);
  row_sums* const to = call.output("sums", op.sums);
  with_old(op.in.has_old, [&](auto has_old) {
    with_elements(call, op.in, [&](const auto& counted) {
      launch_row_sums<has_old>(call, op.in, tables, op.mixture, counted,
                               sums_to_memory{to, op.in.has_reference, op.in.has_old, op.mixture != 0},
                               [&](auto& kernel) { place_with_states(call, kernel, kernel.transitions); });
    });
  });
  call.finish();
}

template <class Device, storage_scalar T, storage_scalar V, storage_scalar G>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const row_gradient_op<T, V, G>& op) {
  if (op.of.states() < 1) return;
  device_call call(arguments, "policy_gradient");
  expect_row_inputs(call, op.in);
  call.expects("gradient", op.gradient);
  policy_row* rows = nullptr;
  if constexpr (std::same_as<G, float16>) {
    rows = call.output("rows", op.rows);
    if (rows != op.rows.data()) call.device().copy(rows, op.rows.data(), op.rows.size_bytes());
  }
  const sibling_tables tables(op.of);
  with_old(op.in.has_old, [&](auto has_old) {
    with_elements(call, op.in, [&](const auto& counted) {
      launch_row_gradients<has_old>(call, op.in, tables, counted, op.factors, op.gradient, rows);
    });
  });
  call.finish();
}

template <class Device, storage_scalar T, storage_scalar V, storage_scalar G, class Objective>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments,
                         const row_loss_op<T, V, G, Objective>& op) {
  static_assert(std::is_trivially_copyable_v<Objective>,
                "tempflow: an objective is copied to the device byte by byte: it must be trivially copyable");
  if (op.of.states() < 1) return;
  device_call call(arguments, "policy_loss");
  expect_row_inputs(call, op.in);
  call.expects("gradient", op.gradient);
  policy_row* const rows = call.output("rows", op.rows);
  const index_t count = op.of.rows();
  auto* const factors = call.template take<row_factors>(count);
  const sibling_tables tables(op.of);
  const auto launch = [&](auto has_old, const auto& counted) {
    launch_row_sums<has_old>(call, op.in, tables, op.mixture, counted,
                             sums_to_scores<Objective>{.constants = op.constants,
                                                       .objective = op.objective,
                                                       .old_log_probs = op.old_log_probs,
                                                       .advantages = op.advantages,
                                                       .weights = op.weights,
                                                       .factors = factors,
                                                       .rows = rows},
                             [&](auto& kernel) {
                               place_with_states(call, kernel, kernel.transitions, kernel.to.old_log_probs,
                                                 kernel.to.advantages, kernel.to.weights);
                             });
    if (op.gradient.empty()) return;
    launch_row_gradients<has_old>(call, op.in, tables, counted,
                                  std::span<const row_factors>(factors, static_cast<std::size_t>(count)),
                                  op.gradient, rows);
  };
  const auto launch_with = [&](auto has_old) {
    with_elements(call, op.in, [&](const auto& counted) { launch(has_old, counted); });
  };
  if constexpr (requires { typename std::bool_constant<Objective::needs.old_velocity>; }) {
    launch_with(std::bool_constant<Objective::needs.old_velocity>());
  } else {
    with_old(op.constants.needs.old_velocity, launch_with);
  }
  call.finish();
}

}  // namespace tempflow::detail
