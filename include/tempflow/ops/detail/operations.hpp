// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What each operation asks of a backend: its arguments, checked. A backend answers with an overload of
// run(arguments, operation): host backends' are in ops/host/, those of devices in device/kernels/.

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/advantage/weighted_reward.hpp"
#include "tempflow/backend/backend.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/element_mask.hpp"
#include "tempflow/core/noise_source.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/core/stream_value.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/objective/policy_statistics.hpp"
#include "tempflow/ops/detail/operation_arguments.hpp"
#include "tempflow/ops/detail/policy_terms.hpp"
#include "tempflow/ops/detail/siblings.hpp"

namespace tempflow::detail {

// T: what states are stored as. V: velocities. G: gradients.

template <storage_scalar T, storage_scalar V>
struct step_op {
  batch_view<const T> x;
  batch_view<const V> v;
  batch_view<T> y;
  per_row<transition> steps;
  noise_source noise;
  std::span<double> log_probs;  ///< or empty
  log_prob_convention convention;
};

template <storage_scalar T, storage_scalar V>
struct ode_step_op {
  batch_view<const T> x;
  batch_view<const V> v;
  batch_view<T> y;
  per_row<transition> steps;
};

template <storage_scalar T, storage_scalar V>
struct branch_step_op {
  batch_view<const T> x;
  batch_view<const V> v;
  per_row<transition> trunk_steps, branch_steps;
  noise_source noise;
  batch_view<T> trunk, branches;  ///< trunk: or empty
  std::span<double> log_probs;
  log_prob_convention convention;

  index_t explorations() const { return branches.rows() / x.rows(); }
};

template <storage_scalar T>
struct fill_noise_op {
  batch_view<T> out;
  noise_source noise;
};

template <storage_scalar T, storage_scalar V>
struct log_prob_op {
  batch_view<const T> x, y;  ///< y: by row, the others by state
  batch_view<const V> v;
  siblings of;
  per_row<transition> steps;  ///< by state
  std::span<double> log_probs;
  log_prob_convention convention;
  element_mask mask;  ///< or none
};

template <storage_scalar T, storage_scalar V, storage_scalar G, class Objective>
struct policy_loss_op {
  batch_view<const T> x, y;           ///< y: by row, the others by state
  batch_view<const V> v, v_ref;       ///< v_ref: or empty
  std::optional<noise_source> drawn;  ///< in place of x and y
  siblings of;
  policy_terms<Objective> terms;
  batch_view<G> gradient;  ///< by state, or empty
  std::span<policy_row> rows;
};

template <storage_scalar T, storage_scalar G>
struct guide_op {
  batch_view<const T> conditional, unconditional;
  batch_view<G> guided;
  per_row<double> scale;
  index_t channels;  ///< of a token; 0: linear
};

template <storage_scalar T, storage_scalar G>
struct guide_gradient_op {
  batch_view<const T> gradient, conditional, unconditional;  ///< linear: without the last two
  batch_view<G> of_conditional, of_unconditional;            ///< or empty
  per_row<double> scale;
  index_t channels;
};

template <storage_scalar T>
struct ema_update_op {
  std::span<T> average;
  std::span<const T> weights;
  stream_value<double> decay;
};

template <storage_scalar T>
struct put_back_op {
  batch_view<const T> x;
  element_mask mask;
  batch_view<T> y;  ///< a multiple of the rows of x: those of a state follow each other

  index_t per_state() const { return y.rows() / x.rows(); }
};

struct summarize_op {
  std::span<const policy_row> rows;
  double kl_beta, mean_over;
  std::span<policy_statistics> total;  ///< one
};

struct group_advantages_op {
  std::span<const weighted_reward> rewards;
  std::span<const std::int64_t> groups;
  advantage_options options;
  std::span<double> advantages;
};

template <storage_scalar T>
struct copy_rows_op {
  batch_view<const T> from;
  batch_view<T> to;
};
template <storage_scalar T>
struct copy_from_host_op {
  batch_view<const T> from;
  batch_view<T> to;
};
template <storage_scalar T>
struct copy_to_host_op {
  batch_view<const T> from;
  batch_view<T> to;
};
template <storage_scalar T>
struct gather_rows_op {
  batch_view<const T> from;
  std::span<const index_t> rows;
  batch_view<T> to;
};

/// Whether a backend has an implementation of an operation, among all that is included.
template <class B, class Operation>
concept runs_operation = requires(const operation_arguments<B>& arguments, const Operation& op) {
  run(arguments, op);
};

/// Runs an operation where its backend has it.
template <class B, class Operation>
TEMPFLOW_HIDDEN void execute(const operation_arguments<B>& arguments, const Operation& op) {
  if constexpr (runs_operation<B, Operation>) {
    run(arguments, op);
  } else {
    static_assert(!std::same_as<B, B>,
                  "tempflow: no kernel of this operation for this backend is included; for a device include "
                  "tempflow/cuda.cuh (in C++ sources tempflow/cuda.hpp), for group advantages "
                  "tempflow/cuda/group_advantages.cuh (.hpp), or the operation's header in "
                  "tempflow/device/kernels/");
  }
}
template <backend B, class Operation>
TEMPFLOW_HIDDEN void execute(const B& backend, const Operation& op) {
  execute(operation_arguments<B>(backend), op);
}

}  // namespace tempflow::detail
