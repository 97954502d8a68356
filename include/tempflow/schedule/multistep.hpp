// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A deterministic step of second order that looks one step back. Where Euler takes the data prediction
// m = x - sigma v for constant along the step, DPM-Solver++ 2M extrapolates it in lambda = log((1 - s) / s):
//
//   y = (sigma' / sigma) x + (1 - sigma' / sigma) ((1 + c) m - c m_previous),   c = h / (2 h_previous)
//
// with h the step's length in lambda. Source: DPM-Solver++, arXiv 2211.01095, algorithm 2, for flows
// (diffusers, DPMSolverMultistepScheduler with use_flow_sigmas); MixGRPO-Flash, arXiv 2507.21802.

#include <cmath>

#include "tempflow/core/numeric.hpp"
#include "tempflow/schedule/dynamics.hpp"

namespace tempflow {

/// y = alpha x + beta m + previous m_previous, with m = x - sigma v.
struct multistep_transition {
  double alpha = 1;
  double beta = 0;
  double previous = 0;  ///< 0: Euler's step
};

/// The step of a trajectory that came from sigma_previous, or that starts (sigma_previous = 1). First order
/// behind pure noise and on the way to sigma_next = 0, where lambda has no bounds, and behind a step so short that it has
/// no length in lambda.
inline multistep_transition dpm_solver_2m(double sigma_previous, const sigma_step& at) {
  const auto lambda = [](double s) { return std::log((1 - s) / s); };
  const double kept = at.sigma_next / at.sigma;
  double c = 0;
  const double length_previous = lambda(at.sigma) - lambda(sigma_previous);
  if (sigma_previous < 1 && at.sigma_next > 0 && length_previous > 0) {
    c = (lambda(at.sigma_next) - lambda(at.sigma)) / (2 * length_previous);
    if (!is_finite(c)) c = 0;  // a subnormal sigma_next, whose lambda is infinite
  }
  return {.alpha = kept, .beta = (1 - kept) * (1 + c), .previous = -(1 - kept) * c};
}

}  // namespace tempflow
