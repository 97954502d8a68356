// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What an objective is: a scalar function of one sample's log-ratio, advantage and weight. Kernels turn the
// slope it returns into dL/dv, so a new objective never touches a kernel.

#include <concepts>

#include "tempflow/config.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/objective/kl.hpp"

namespace tempflow {

/// An objective's answer for one sample.
struct surrogate {
  double loss = 0;
  double slope = 0;    ///< d loss / d log-ratio
  bool below = false;  ///< the ratio lies below the trust region
  bool above = false;  ///< the ratio lies above it
};

/// A policy objective: the surrogate of a sample, and the weight of the KL to the reference policy. A
/// function without side effects: it is called from any thread, and also for log-ratios that no sample has.
/// validate() throws value_error for parameters that make no sense.
///
/// For CUDA, mark the call operator TEMPFLOW_HD (config.hpp: __host__ __device__), and keep the objective
/// trivially copyable; it is a compile error otherwise:
///
///   TEMPFLOW_HD surrogate operator()(double log_ratio, double advantage, double weight) const;
template <class O>
concept policy_objective = requires(const O& objective, double number) {
  { objective(number, number, number) } -> std::same_as<surrogate>;
  { objective.kl_beta } -> std::convertible_to<double>;
  { objective.kl_over } -> std::convertible_to<kl_denominator>;
  objective.validate();
};

}  // namespace tempflow
