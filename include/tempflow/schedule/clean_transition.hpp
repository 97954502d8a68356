// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// For objectives that train on finished samples (DiffusionNFT, AWM, FPO, DPO): a sample x0 is noised again,
// x_t = (1 - t) x0 + t z, and the step from x_t to the data is compared with it. With y = x0 the residual of that step,
// y - x_t + t v, is t times the flow-matching error v - (z - x0).

#include "tempflow/core/error.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow {

/// The transition from noise level sigma to the data, without noise. Throws schedule_error for sigma outside of (0, 1].
inline transition clean_transition(double sigma) {
  if (!(sigma > 0 && sigma <= 1)) {
    throw schedule_error(detail::message("clean_transition: sigma = ", sigma, ", must be in (0, 1]"));
  }
  return {.alpha = 1, .beta = -sigma, .std = 0, .sigma = sigma, .sigma_next = 0, .dt = sigma, .diffusion = 0};
}

/// The transition from a sample to noise level sigma, x_t = (1 - sigma) x0 + sigma z: a step whose velocity counts
/// nothing. Throws schedule_error for sigma outside of (0, 1].
inline transition noising_transition(double sigma) {
  const transition back = clean_transition(sigma);
  return {.alpha = 1 - sigma, .beta = 0, .std = sigma, .sigma = 0, .sigma_next = sigma, .dt = -back.dt};
}

}  // namespace tempflow
