// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The samplers of the field as functions (sigma, sigma_next) -> transition. Each is a dozen lines on the
// host, so a new sampler needs no kernel. With Dt = sigma - sigma_next, v = noise - data:
//
//   Langevin-corrected Euler with diffusion coefficient g:
//     alpha = 1 - Dt g^2 / (2 sigma),  beta = -Dt (1 + g^2 (1 - sigma) / (2 sigma)),  std = g sqrt(Dt)
//   coefficient preserving, with q = sqrt(sigma_next^2 - std^2):
//     alpha = (1 - sigma_next) + q,    beta = -sigma (1 - sigma_next) + (1 - sigma) q
//
// Derivations: docs/maths.md.

#include <cmath>
#include <concepts>
#include <numbers>

#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow {

/// What dynamics look at: the step's two noise levels, 1 >= sigma > sigma_next >= 0.
struct sigma_step {
  double sigma;
  double sigma_next;
};

/// A rule that turns a step of the sigma grid into a transition. For a chain it need only fill alpha, beta
/// and std.
template <class D>
concept dynamics = requires(const D& rule, const sigma_step& step) {
  { rule(step) } -> std::same_as<transition>;
};

/// Dynamics that name the rule of their deterministic step, from any knot to any later one. Those of this file
/// are flows, whose rule is `ode`; dynamics of another process name their own, or have none.
template <class D>
concept dynamics_with_ode = dynamics<D> && dynamics<typename D::deterministic>;

namespace detail {

inline void check_level(const char* what, double level, double highest) {
  if (!is_finite(level) || level < 0 || level > highest) {
    throw value_error(message(what, " = ", level, ", must lie in [0, ", highest, "]"));
  }
}

inline transition langevin_euler(const sigma_step& at, double diffusion) {
  const double dt = at.sigma - at.sigma_next;
  const double correction = diffusion * diffusion / (2 * at.sigma);
  return {.alpha = fused_multiply_add(-dt, correction, 1.0),
          .beta = -dt * fused_multiply_add(correction, 1 - at.sigma, 1.0),
          .std = diffusion * std::sqrt(dt),
          .sigma = at.sigma,
          .sigma_next = at.sigma_next,
          .dt = dt,
          .diffusion = diffusion};
}

inline transition coefficient_preserving(const sigma_step& at, double std) {
  const double dt = at.sigma - at.sigma_next;
  const double kept = std::sqrt((at.sigma_next - std) * (at.sigma_next + std));
  return {.alpha = (1 - at.sigma_next) + kept,
          .beta = fused_multiply_add(1 - at.sigma, kept, -at.sigma * (1 - at.sigma_next)),
          .std = std,
          .sigma = at.sigma,
          .sigma_next = at.sigma_next,
          .dt = dt,
          .diffusion = std / std::sqrt(dt)};
}

}  // namespace detail

/// Deterministic Euler step of the probability-flow ODE: y = x - Dt v.
struct ode {
  using deterministic = ode;

  transition operator()(const sigma_step& at) const { return detail::langevin_euler(at, 0); }
};

/// Flow-GRPO's SDE, g = a sqrt(sigma / (1 - sigma)). At sigma == 1 exactly, a grid's first step, the
/// denominator takes sigma_next instead. Keeps the ODE's marginals as steps grow.
/// Source: Flow-GRPO, arXiv 2505.05470; flow_grpo/diffusers_patch/sd3_sde_with_logprob.py.
struct flow_sde {
  using deterministic = ode;

  double noise_level = 0.7;  ///< a >= 0

  /// Throws value_error for a noise level that is negative or not finite, schedule_error for a sigma that is
  /// almost, but not exactly, 1.
  transition operator()(const sigma_step& at) const {
    detail::check_level("flow_sde: noise_level", noise_level, 1e6);
    const double reference = at.sigma == 1 ? at.sigma_next : at.sigma;
    if (1 - reference < 1e-6) {
      throw schedule_error(detail::message("flow_sde: sigma = ", at.sigma, ", sigma_next = ", at.sigma_next,
                                           ": noise grows without bound; start the grid at exactly 1"));
    }
    return detail::langevin_euler(at, noise_level * std::sqrt(at.sigma / (1 - reference)));
  }
};

/// DanceGRPO's SDE, g = eta at every step.
/// Source: DanceGRPO, arXiv 2505.07818; fastvideo/train_grpo_flux.py, flux_step.
struct dance_sde {
  using deterministic = ode;

  double eta = 0.3;  ///< g >= 0

  /// Throws value_error for an eta that is negative or not finite.
  transition operator()(const sigma_step& at) const {
    detail::check_level("dance_sde: eta", eta, 1e6);
    return detail::langevin_euler(at, eta);
  }
};

/// Coefficient-preserving sampling, std = sigma_next sin(a pi / 2): the sample keeps exactly the noise that
/// sigma_next stands for. Deterministic where sigma_next = 0.
/// Source: Flow-CPS, arXiv 2509.05952; flow_grpo, sde_type 'cps'.
struct flow_cps {
  using deterministic = ode;

  double noise_level = 0.7;  ///< a in [0, 1]

  /// Throws value_error for a noise level outside [0, 1].
  transition operator()(const sigma_step& at) const {
    detail::check_level("flow_cps: noise_level", noise_level, 1);
    return detail::coefficient_preserving(at, at.sigma_next * std::sin(noise_level * std::numbers::pi / 2));
  }
};

/// DDIM with eta for flow models; eta = 1 is the first-order SDE of DPM-Solver++.
///   std = eta sigma_next sqrt(1 - (sigma_next (1 - sigma) / (sigma (1 - sigma_next)))^2)
/// Source: flow_grpo/diffusers_patch/solver.py, ddim_update.
struct ddim {
  using deterministic = ode;

  double eta = 1;  ///< in [0, 1]

  /// Throws value_error for an eta outside [0, 1].
  transition operator()(const sigma_step& at) const {
    detail::check_level("ddim: eta", eta, 1);
    const double ratio = at.sigma_next * (1 - at.sigma) / (at.sigma * (1 - at.sigma_next));
    return detail::coefficient_preserving(at, eta * at.sigma_next * std::sqrt((1 - ratio) * (1 + ratio)));
  }
};

}  // namespace tempflow
