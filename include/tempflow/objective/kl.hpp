// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// KL divergence of the policy's transition from a reference policy's. Both share x and std, so only the
// velocities differ:
//
//   KL = beta^2 mean((v - v_ref)^2) / (2 std_kl^2),      dKL/dv_e = beta^2 (v_e - v_ref_e) / (D std_kl^2)
//
// Which std_kl is this field's most repeated source of confusion, so it has a name here. (For `unit` the
// whole denominator is 1, and the derivative 2 beta^2 (v_e - v_ref_e) / D; `velocity` is mean((v - v_ref)^2) alone.)

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow {

/// The denominator of the KL.
enum class kl_denominator {
  transition_variance,  ///< 2 std^2: the KL itself (TempFlow-GRPO; Flow-GRPO's paper)
  diffusion,            ///< 2 g^2, that is 2 std^2 / Dt (Flow-GRPO's code)
  unit,                 ///< 1: mean((mu - mu_ref)^2) alone (Flow-CPS)
  velocity,             ///< beta^2: mean((v - v_ref)^2) alone (DiffusionNFT, AWM, Flow-Factory's v-based KL)
};

/// c with KL = c mean((v - v_ref)^2).
TEMPFLOW_HD constexpr double kl_scale(const transition& step, kl_denominator denominator) {
  const double squared = step.beta * step.beta;
  switch (denominator) {
    case kl_denominator::transition_variance: return squared / (2 * step.std * step.std);
    case kl_denominator::diffusion: return squared / (2 * step.diffusion * step.diffusion);
    case kl_denominator::unit: return squared;
    case kl_denominator::velocity: return 1;
  }
  return squared;
}

/// KL from the sum of (v - v_ref)^2 over `elements` elements, and that scale.
TEMPFLOW_HD constexpr double gaussian_kl(double squared_difference, double scale, index_t elements) {
  return scale * squared_difference / static_cast<double>(elements);
}
TEMPFLOW_HD constexpr double gaussian_kl(double squared_difference, const transition& step, index_t elements,
                                         kl_denominator denominator) {
  return gaussian_kl(squared_difference, kl_scale(step, denominator), elements);
}

/// c with dKL/dv_e = c (v_e - v_ref_e).
TEMPFLOW_HD constexpr double kl_slope(const transition& step, index_t elements, kl_denominator denominator) {
  return 2 * kl_scale(step, denominator) / static_cast<double>(elements);
}

}  // namespace tempflow
