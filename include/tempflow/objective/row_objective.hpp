// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The general form of an objective: a scalar function of a row's means (row_sums.hpp) and its transition. Backends add
// the sums up before it and turn the slopes that it returns into dL/dv, so a new objective never touches a kernel. An
// objective of the ratio alone is simpler to write as a policy_objective (surrogate.hpp).

#include <concepts>
#include <span>

#include "tempflow/config.hpp"
#include "tempflow/objective/kl.hpp"
#include "tempflow/objective/row_sums.hpp"
#include "tempflow/objective/surrogate.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow {

/// What an objective has to be given.
struct row_needs {
  bool ratio = true;                ///< log-probs: old ones, and transitions that have a density
  bool old_velocity = false;        ///< v_old
  bool reference_velocity = false;  ///< v_ref, whether or not there is a KL
  bool squared_error = false;       ///< log-probs that are -mean(r^2): {mean, squared_error}
  bool finished = false;            ///< y = x0 and clean_transition
  bool advantage = true;
  bool zeros = false;  ///< rows of advantage or weight 0: they teach, or others' losses depend on them
};

/// A row as an objective sees it.
struct scored_row {
  transition step;
  double log_prob = 0;   ///< of y under the policy; 0 where needs.ratio is false
  double log_ratio = 0;  ///< minus the old one: exactly 0 on policy; 0 where needs.ratio is false
  double advantage = 0;
  double weight = 1;
  row_sums mean;  ///< means over the elements that count
};

/// Derivatives of a row's loss.
struct row_slopes {
  double log_ratio = 0;  ///< by the log-ratio, and by the means of
  double residual = 0;   ///< r^2
  double reference = 0;  ///< (v - v_ref)^2
  double residual_reference = 0;
  double old = 0;
  double residual_old = 0;  ///< positive and negative have none: they are weights, not differentiated
};

/// An objective's answer for one row.
struct row_loss {
  double loss = 0;
  row_slopes slope;
  bool below = false;  ///< the ratio lies below the trust region
  bool above = false;  ///< the ratio lies above it
};

/// An objective of a row's means. As a policy_objective: a function without side effects; for CUDA its call
/// operator is TEMPFLOW_HD and it is trivially copyable. The Gaussian KL to the reference policy is added to it.
/// One whose losses weigh absolute errors (DiffusionNFT's) also has a member `mixture`, the b of row_sums. One that
/// is chosen at run time has needs that are an ordinary member.
///
///   static constexpr row_needs needs{.old_velocity = true};
///   TEMPFLOW_HD row_loss operator()(const scored_row& row) const;
template <class O>
concept row_objective = requires(const O& objective, const scored_row& row) {
  { objective(row) } -> std::same_as<row_loss>;
  { objective.needs } -> std::convertible_to<row_needs>;
  { objective.kl_beta } -> std::convertible_to<double>;
  { objective.kl_over } -> std::convertible_to<kl_denominator>;
  objective.validate();
};

/// An objective of all rows of a batch at once, where a row's loss depends on other rows: it writes the answer of each.
/// For losses in two calls (ops/policy_sums.hpp); on the host.
template <class O>
concept batch_objective = requires(const O& objective, std::span<const scored_row> rows,
                                   std::span<row_loss> answers) {
  objective(rows, answers);
  { objective.needs } -> std::convertible_to<row_needs>;
  { objective.kl_beta } -> std::convertible_to<double>;
  { objective.kl_over } -> std::convertible_to<kl_denominator>;
  objective.validate();
};

/// What policy_loss takes: an objective of the ratio, or of a row's means.
template <class O>
concept any_objective = policy_objective<O> || row_objective<O>;

/// An objective of the ratio in the general form: see as_row_objective.
template <policy_objective Objective>
struct ratio_objective {
  static constexpr row_needs needs{};
  Objective objective;
  double kl_beta = 0;
  kl_denominator kl_over = {};

  explicit ratio_objective(const Objective& of)
      : objective(of), kl_beta(double{of.kl_beta}), kl_over(of.kl_over) {}

  TEMPFLOW_HD row_loss operator()(const scored_row& row) const {
    const surrogate answer = objective(row.log_ratio, row.advantage, row.weight);
    return {answer.loss, {.log_ratio = answer.slope}, answer.below, answer.above};
  }
  void validate() const { objective.validate(); }
};

/// An objective in its general form: itself, or one of the ratio for which a mask is wanted.
///
///   batch.mask = {bytes, 1, elements};
///   policy_loss(cpu, batch, v, v_ref, {}, as_row_objective(clipped_grpo{}), gradient);
template <row_objective Objective>
const Objective& as_row_objective(const Objective& objective) {
  return objective;
}
/// The same, for an objective of the ratio.
template <policy_objective Objective>
ratio_objective<Objective> as_row_objective(const Objective& objective) {
  return ratio_objective<Objective>(objective);
}

namespace detail {

/// The b of an objective; 0 for those that have none.
template <class Objective>
double mixture_of(const Objective& objective) {
  if constexpr (requires { objective.mixture; }) {
    return objective.mixture;
  } else {
    return 0;
  }
}

}  // namespace detail
}  // namespace tempflow
