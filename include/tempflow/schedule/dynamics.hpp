// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The samplers of the field as functions (sigma, sigma_next) -> transition. Each is one of two families with a
// noise of its own, a dozen lines on the host, so a new sampler needs no kernel. With Dt = sigma - sigma_next,
// v = noise - data:
//
//   langevin, Langevin-corrected Euler with diffusion coefficient g:
//     alpha = 1 - Dt g^2 / (2 sigma),  beta = -Dt (1 + g^2 (1 - sigma) / (2 sigma)),  std = g sqrt(Dt)
//   coefficient_preserving, with q = sqrt(sigma_next^2 - std^2):
//     alpha = (1 - sigma_next) + q,    beta = -sigma (1 - sigma_next) + (1 - sigma) q
//
// A sampler of one's own is a function too: [](const sigma_step& at) { return langevin(at, 0.5 * at.sigma); }
// Derivations: docs/maths.md.

#include <cmath>
#include <concepts>
#include <numbers>
#include <span>

#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/schedule/detail/checks.hpp"
#include "tempflow/schedule/sigma_points.hpp"
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

inline void check_step(const sigma_step& at) {
  const double knots[] = {at.sigma, at.sigma_next};
  check_sigmas(knots);
}

}  // namespace detail

/// Langevin-corrected Euler step with the diffusion coefficient g = diffusion >= 0: the ODE's step, and noise with
/// the drift along the score that keeps the ODE's marginals as steps grow shorter. The rules with noise of one's own
/// are this with a g of the step; alpha stays positive while dt g^2 < 2 sigma. Throws schedule_error unless
/// 1 >= sigma > sigma_next >= 0, value_error for a diffusion that is negative, above 1e6 or not finite.
/// Source: Flow-GRPO, arXiv 2505.05470; docs/maths.md, 2.1.
inline transition langevin(const sigma_step& at, double diffusion) {
  detail::check_step(at);
  detail::check_level("langevin: diffusion", diffusion, 1e6);
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

/// Step to the predicted data and noise mixed as sigma_next asks, with fresh noise of standard deviation `std` in
/// place of as much predicted noise: the sample keeps exactly the noise that sigma_next stands for. Throws
/// schedule_error unless 1 >= sigma > sigma_next >= 0, value_error for a std outside [0, sigma_next].
/// Source: Flow-CPS, arXiv 2509.05952; docs/maths.md, 2.3.
inline transition coefficient_preserving(const sigma_step& at, double std) {
  detail::check_step(at);
  detail::check_level("coefficient_preserving: std", std, at.sigma_next);
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

/// Least sigma that may stand for pure noise: UniPC's grids (wan_sigmas) leave out the training's last timestep and
/// start at 999/1000 before a shift, .9997 or .9998 after it.
inline constexpr double pure_noise = 0.999;

/// True for a step from pure noise, a grid's first: sigma is 1, or stands for it. It does from pure_noise up, where
/// it is nearer to 1 than half the step; the second knot of a fine grid is not.
constexpr bool leaves_pure_noise(const sigma_step& at) {
  return at.sigma >= pure_noise && 2 * (1 - at.sigma) < at.sigma - at.sigma_next;
}

/// Deterministic Euler step of the probability-flow ODE: y = x - Dt v.
struct ode {
  using deterministic = ode;

  transition operator()(const sigma_step& at) const { return langevin(at, 0); }
};

/// Flow-GRPO's SDE, g = a sqrt(sigma / (1 - sigma)). On a step from pure noise (leaves_pure_noise), where g has
/// its pole, the denominator takes sigma_next instead. Keeps the ODE's marginals as steps grow.
/// Source: Flow-GRPO, arXiv 2505.05470; flow_grpo/diffusers_patch/sd3_sde_with_logprob.py.
struct flow_sde {
  using deterministic = ode;

  double noise_level = 0.7;  ///< a >= 0

  /// Throws value_error for a noise level that is negative or not finite, schedule_error for a denominator below
  /// 1e-6.
  transition operator()(const sigma_step& at) const {
    detail::check_level("flow_sde: noise_level", noise_level, 1e6);
    const double reference = leaves_pure_noise(at) ? at.sigma_next : at.sigma;
    if (1 - reference < 1e-6) {
      throw schedule_error(detail::message("flow_sde: sigma = ", at.sigma, ", sigma_next = ", at.sigma_next,
                                           ": noise grows without bound on a step this near 1"));
    }
    return langevin(at, noise_level * std::sqrt(at.sigma / (1 - reference)));
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
    return langevin(at, eta);
  }
};

/// The SDE of Flow-GRPO's and Flash-GRPO's trainers for Wan: g = sigma_min + (sigma_max - sigma_min) sigma, with
/// the second and the last knot of the grid for the two. It has no noise level.
/// Source: Flow-GRPO, flow_grpo/diffusers_patch/wan_pipeline_with_logprob.py; Flash-GRPO,
/// wan2_1_pipeline_with_logprob_sample.py; both sde_step_with_logprob.
struct wan_sde {
  using deterministic = ode;

  double sigma_max = not_a_number;  ///< in [0, 1]
  double sigma_min = 0;             ///< in [0, 1]

  /// The rule of a grid. Throws schedule_error for one that check_sigmas rejects.
  static wan_sde on(std::span<const double> sigmas) {
    check_sigmas(sigmas);
    return {.sigma_max = sigmas[1], .sigma_min = sigmas.back()};
  }

  /// Throws value_error for a sigma_max or sigma_min outside [0, 1].
  transition operator()(const sigma_step& at) const {
    detail::check_level("wan_sde: sigma_max", sigma_max, 1);
    detail::check_level("wan_sde: sigma_min", sigma_min, 1);
    return langevin(at, fused_multiply_add(sigma_max - sigma_min, at.sigma, sigma_min));
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
    return coefficient_preserving(at, at.sigma_next * std::sin(noise_level * std::numbers::pi / 2));
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
    return coefficient_preserving(at, eta * at.sigma_next * std::sqrt((1 - ratio) * (1 + ratio)));
  }
};

}  // namespace tempflow
