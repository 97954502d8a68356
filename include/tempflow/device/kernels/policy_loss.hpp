// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_loss on a device. A row that fits into the shared memory of the blocks of a cluster is read once
// (policy_row.hpp). Others take two passes (policy_passes.hpp), and so do siblings (sibling_gradient.hpp). What is
// drawn again takes one (drawn_loss.hpp).

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "tempflow/device/kernels/drawn_loss.hpp"
#include "tempflow/device/kernels/policy_passes.hpp"
#include "tempflow/device/kernels/policy_row.hpp"
#include "tempflow/device/kernels/sibling_gradient.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

/// The terms of a kernel, yet to be placed.
template <class Objective>
policy_terms<Objective, row_table> terms_for_kernel(const policy_terms<Objective>& terms) {
  return {.transitions = terms.transitions,
          .old_log_probs = terms.old_log_probs,
          .advantages = terms.advantages,
          .weights = terms.weights,
          .convention = terms.convention,
          .objective = terms.objective,
          .elements = terms.elements,
          .gradient_factor = terms.gradient_factor,
          .has_reference = terms.has_reference,
          .vanishing = terms.vanishing,
          .overflowing = terms.overflowing};
}

/// Brings the terms of a kernel to the device.
template <class Device, class Kernel>
void place_terms(device_call<Device>& call, Kernel& kernel) {
  auto& terms = kernel.terms;
  place_with_states(call, kernel, terms.transitions, terms.old_log_probs, terms.advantages, terms.weights);
}

/// Launches the first pass, and returns what the rows come to.
template <bool HasReference, class Device, storage_scalar T, storage_scalar V, storage_scalar G,
          class Objective, class States>
TEMPFLOW_HIDDEN policy_outcome<compute_t<T>>* launch_policy_sums(device_call<Device>& call,
                                                                 const policy_loss_op<T, V, G, Objective>& op,
                                                                 States&& states, std::uint32_t* overflows,
                                                                 policy_row* to) {
  using kernel_type = policy_sums_kernel<T, V, Objective, HasReference, States>;
  const index_t rows = op.of.rows(), elements = op.v.columns();
  kernel_type kernel{.in = {op.x, op.y, op.v, op.v_ref},
                     .states = std::move(states),
                     .terms = terms_for_kernel(op.terms),
                     .outcomes = call.template take<policy_outcome<compute_t<T>>>(rows),
                     .overflows = overflows,
                     .rows = to,
                     .reduction = make_row_reduction<T>(call, rows, elements, kernel_type::slabs),
                     .tables = {}};
  place_terms(call, kernel);
  if (rows > 0) call.launch(kernel, reduction_shape<T>(rows, elements, kernel_type::slabs));
  return kernel.outcomes;
}

/// Clears the gradients of states that are marked, and marks their rows. Rows: own_rows or sibling_rows.
template <class Device, storage_scalar T, storage_scalar V, storage_scalar G, class Objective, class Rows>
TEMPFLOW_HIDDEN void launch_clear_rows(device_call<Device>& call,
                                       const policy_loss_op<T, V, G, Objective>& op, Rows&& of,
                                       const std::uint32_t* marked, policy_row* to) {
  const index_t states = op.of.states(), elements = op.v.columns();
  clear_rows_kernel<G, Rows> clear{.overflows = marked,
                                   .of = std::move(of),
                                   .rows = to,
                                   .gradient = op.gradient,
                                   .tiles = no_row_reduction<G>(states, elements),
                                   .tables = {}};
  if constexpr (std::same_as<Rows, sibling_rows>) call.place(clear.tables, clear.of.offsets);
  call.launch(clear, tile_shape<G>(states, elements));
}

template <bool HasReference, class Device, storage_scalar T, storage_scalar V, storage_scalar G,
          class Objective>
TEMPFLOW_HIDDEN void launch_policy_loss(device_call<Device>& call,
                                        const policy_loss_op<T, V, G, Objective>& op, policy_row* to) {
  const index_t rows = op.v.rows(), elements = op.v.columns(),
                tiles = (elements - 1) / warp_tile<T>::size + 1;
  const policy_inputs<T, V, HasReference> in{op.x, op.y, op.v, op.v_ref};
  if constexpr (std::same_as<compute_t<T>, float>) {
    using kernel_of_row = policy_row_kernel<T, V, G, Objective, HasReference>;
    kernel_of_row kernel{.in = in,
                         .terms = terms_for_kernel(op.terms),
                         .gradient = op.gradient,
                         .rows = to,
                         .tiles = tiles,
                         .tables = {}};
    const launch_shape shape = policy_row_shape(
        rows, tiles, kernel_of_row::slabs,
        [&](const launch_shape& candidate) { return call.device().largest_cluster(kernel, candidate); });
    if (shape.blocks > 0) {
      call.place(kernel.tables, kernel.terms.transitions, kernel.terms.old_log_probs, kernel.terms.advantages,
                 kernel.terms.weights);
      return call.launch(kernel, shape);
    }
  }
  std::uint32_t* overflows = nullptr;
  if constexpr (std::same_as<G, float16>) overflows = call.template take<std::uint32_t>(rows);
  const auto* const outcomes = launch_policy_sums<HasReference>(call, op, own_states{}, overflows, to);
  if (op.gradient.empty()) return;
  policy_gradient_kernel<T, V, G, HasReference> write{.in = in,
                                                      .transitions = op.terms.transitions,
                                                      .outcomes = outcomes,
                                                      .overflows = overflows,
                                                      .gradient = op.gradient,
                                                      .tiles = no_row_reduction<T>(rows, elements),
                                                      .tables = {}};
  call.place(write.tables, write.transitions);
  call.launch(write, tile_shape<T>(rows, elements));
  if constexpr (std::same_as<G, float16>) {
    launch_clear_rows(call, op, own_rows{}, overflows, to);
  }
}

/// The loss of states that any number of rows leave.
template <bool HasReference, class Device, storage_scalar T, storage_scalar V, storage_scalar G,
          class Objective>
TEMPFLOW_HIDDEN void launch_sibling_loss(device_call<Device>& call,
                                         const policy_loss_op<T, V, G, Objective>& op, policy_row* to) {
  const index_t states = op.of.states(), elements = op.v.columns();
  const sibling_tables tables(op.of);
  const auto* const outcomes =
      launch_policy_sums<HasReference>(call, op, sibling_states{std::span(tables.states)}, nullptr, to);
  if (op.gradient.empty()) return;
  std::uint32_t* overflows = nullptr;
  if constexpr (std::same_as<G, float16>) {
    overflows = call.template take<std::uint32_t>(states);
    call.device().clear(overflows, sizeof(std::uint32_t) * static_cast<std::size_t>(states));
  }
  sibling_gradient_kernel<T, V, G, HasReference> write{.in = {op.x, op.y, op.v, op.v_ref},
                                                       .of = {std::span(tables.offsets)},
                                                       .transitions = op.terms.transitions,
                                                       .outcomes = outcomes,
                                                       .overflows = overflows,
                                                       .gradient = op.gradient,
                                                       .tiles = no_row_reduction<T>(states, elements),
                                                       .tables = {}};
  call.place(write.tables, write.transitions, write.of.offsets);
  call.launch(write, tile_shape<T>(states, elements));
  if constexpr (std::same_as<G, float16>) {
    launch_clear_rows(call, op, sibling_rows{std::span(tables.offsets)}, overflows, to);
  }
}

/// The loss of transitions whose noise is drawn again.
template <bool HasReference, class Device, storage_scalar T, storage_scalar V, storage_scalar G,
          class Objective>
TEMPFLOW_HIDDEN void launch_drawn_loss(device_call<Device>& call,
                                       const policy_loss_op<T, V, G, Objective>& op, policy_row* to) {
  using rows_kernel = drawn_rows_kernel<compute_t<T>, Objective>;
  const index_t states = op.of.states(), rows = op.of.rows(), elements = op.v.columns();
  const sibling_tables tables(op.of);
  rows_kernel slopes{.count = rows,
                     .states = {std::span(tables.states)},
                     .terms = terms_for_kernel(op.terms),
                     .outcomes = call.template take<policy_outcome<compute_t<T>>>(rows),
                     .rows = to,
                     .tables = {}};
  place_terms(call, slopes);
  constexpr index_t rows_of_block = rows_kernel::max_warps * warp_lanes;
  if (rows > 0)
    call.launch(slopes, {.blocks = (rows - 1) / rows_of_block + 1, .warps = rows_kernel::max_warps});
  if (!HasReference && op.gradient.empty()) return;
  auto* const broken = call.template take<std::uint32_t>(states);
  call.device().clear(broken, sizeof(std::uint32_t) * static_cast<std::size_t>(states));
  drawn_gradient_kernel<V, G, HasReference> write{
      .v = op.v,
      .v_ref = op.v_ref,
      .noise = call.on_device(*op.drawn),
      .of = {std::span(tables.offsets)},
      .transitions = op.terms.transitions,
      .kl_over = op.terms.objective.kl_over,
      .outcomes = slopes.outcomes,
      .rows = to,
      .broken = broken,
      .gradient = op.gradient,
      .reduction = HasReference ? make_row_reduction<V>(call, states, elements, 1)
                                : no_row_reduction<V>(states, elements),
      .tables = {}};
  call.place(write.tables, write.transitions, write.of.offsets, write.noise.ids);
  call.launch(write, HasReference ? reduction_shape<V>(states, elements) : tile_shape<V>(states, elements));
  if (!op.gradient.empty() && (HasReference || std::same_as<G, float16>))
    launch_clear_rows(call, op, sibling_rows{std::span(tables.offsets)}, broken, to);
}

template <class Device, storage_scalar T, storage_scalar V, storage_scalar G, class Objective>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments,
                         const policy_loss_op<T, V, G, Objective>& op) {
  static_assert(std::is_trivially_copyable_v<Objective>,
                "tempflow: an objective is copied to the device byte by byte: it must be trivially copyable");
  if (op.of.states() < 1) return;
  device_call call(arguments, "policy_loss");
  call.expects("x", op.x, "y", op.y, "v", op.v, "v_ref", op.v_ref, "gradient", op.gradient);
  policy_row* const to = call.output("rows", op.rows);
  const auto launch = [&](auto has_reference) {
    if (op.drawn) {
      launch_drawn_loss<has_reference>(call, op, to);
    } else if (op.of.one_each()) {
      launch_policy_loss<has_reference>(call, op, to);
    } else {
      launch_sibling_loss<has_reference>(call, op, to);
    }
  };
  if (op.terms.has_reference) {
    launch(std::true_type{});
  } else {
    launch(std::false_type{});
  }
  call.finish();
}

}  // namespace tempflow::detail
