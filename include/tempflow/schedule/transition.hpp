// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one idea of the library: every sampler of the field moves one step as an affine Gaussian,
//
//   y ~ N(alpha x + beta v, std^2 I),
//
// in the state x at sigma and the velocity v = dx/dsigma (about noise - data). Dynamics
// (schedule/dynamics.hpp) only decide the three numbers; kernels see nothing else.

#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {

/// One step of a chain, sigma (noisier) to sigma_next (cleaner). All in double, known before the model runs. Its
/// layout is promised: seven doubles in this order and nothing else, so that a row-major table of T x 7 doubles is
/// a table of T transitions, in any language.
struct transition {
  double alpha = 1;       ///< factor of the state
  double beta = 0;        ///< factor of the velocity
  double std = 0;         ///< standard deviation of the step's noise; 0 for a deterministic step
  double sigma = 0;       ///< noise level at which the model is evaluated
  double sigma_next = 0;  ///< noise level that the step reaches
  double dt = 0;          ///< sigma - sigma_next, positive
  double diffusion = 0;   ///< diffusion coefficient g = std / sqrt(dt)

  /// True when the step draws noise and hence has a density.
  TEMPFLOW_HD constexpr bool stochastic() const { return std > 0; }

  friend constexpr bool operator==(const transition&, const transition&) = default;
};

static_assert(std::is_trivially_copyable_v<transition> && std::is_standard_layout_v<transition>);
static_assert(sizeof(transition) == 7 * sizeof(double));

}  // namespace tempflow
