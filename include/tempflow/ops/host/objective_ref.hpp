// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// An objective without its type: it is called once or twice per row, so the kernels of host backends are compiled once
// for all objectives.

#include "tempflow/config.hpp"
#include "tempflow/objective/surrogate.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

/// Refers to an objective.
class objective_ref {
 public:
  template <class Objective>
  explicit objective_ref(const Objective& of)
      : kl_beta(of.kl_beta),
        kl_over(of.kl_over),
        of_(&of),
        answer_([](const void* self, double log_ratio, double advantage, double weight) {
          return (*static_cast<const Objective*>(self))(log_ratio, advantage, weight);
        }) {}

  /// Not a part of its callers: the same bits in all instruction sets.
  TEMPFLOW_NOINLINE surrogate operator()(double log_ratio, double advantage, double weight) const {
    return answer_(of_, log_ratio, advantage, weight);
  }

  double kl_beta;
  kl_denominator kl_over;

 private:
  const void* of_;
  surrogate (*answer_)(const void* self, double log_ratio, double advantage, double weight);
};

/// policy_loss with any objective.
template <storage_scalar T, storage_scalar V, storage_scalar G>
using any_policy_loss_op = policy_loss_op<T, V, G, objective_ref>;

/// Refers to the objective of `op`.
template <storage_scalar T, storage_scalar V, storage_scalar G, class Objective>
any_policy_loss_op<T, V, G> without_type(const policy_loss_op<T, V, G, Objective>& op) {
  return {
      op.x,        op.y,   op.v, op.v_ref, op.drawn, op.of, op.terms.with(objective_ref(op.terms.objective)),
      op.gradient, op.rows};
}

}  // namespace tempflow::detail
