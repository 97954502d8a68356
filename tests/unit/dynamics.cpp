// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The samplers of the field as transitions: each against its own published formula.

#include "tempflow/schedule/dynamics.hpp"

#include <cmath>
#include <numbers>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/schedule/sigmas.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::sigma_step;
using tempflow::transition;
using tempflow::value_error;

namespace {

constexpr double pi = std::numbers::pi;

// Every step of the grids of three models, and some of nobody's.
std::vector<sigma_step> steps_of_all_grids() {
  std::vector<sigma_step> steps;
  for (const auto& grid :
       {tempflow::sd3_sigmas(10), tempflow::flux_sigmas(10, 4096), tempflow::qwen_image_sigmas(10),
        tempflow::shifted_linspace_sigmas(16), std::vector<double>{0.95, 0.6, 0.59, 0.1}}) {
    for (std::size_t i = 0; i + 1 < grid.size(); ++i) {
      steps.push_back({.sigma = grid[i], .sigma_next = grid[i + 1]});
    }
  }
  return steps;
}

Approx near(double value) { return Approx(value).epsilon(1e-13).margin(1e-15); }

void check_coefficients(const transition& made, double alpha, double beta, double std) {
  INFO("sigma " << made.sigma << " to " << made.sigma_next);
  CHECK(made.alpha == near(alpha));
  CHECK(made.beta == near(beta));
  CHECK(made.std == near(std));
}

}  // namespace

TEST_CASE("the ODE's step is Euler's: y = x - Dt v", "[dynamics]") {
  for (const auto& at : steps_of_all_grids()) {
    const auto made = tempflow::ode{}(at);
    check_coefficients(made, 1, -(at.sigma - at.sigma_next), 0);
    CHECK_FALSE(made.stochastic());
  }
}

TEST_CASE(
    "a Flow-SDE step inside the grid has alpha = 1 - a^2 Dt / (2 (1 - sigma)) and beta = -Dt (1 + a^2 / 2)",
    "[dynamics]") {
  for (const double a : {0.3, 0.7, 0.9, 1.2}) {
    for (const auto& at : steps_of_all_grids()) {
      if (at.sigma == 1) continue;
      const double dt = at.sigma - at.sigma_next;
      check_coefficients(tempflow::flow_sde{a}(at), 1 - a * a * dt / (2 * (1 - at.sigma)),
                         -dt * (1 + a * a / 2), a * std::sqrt(at.sigma / (1 - at.sigma) * dt));
    }
  }
}

TEST_CASE("at sigma == 1 Flow-SDE divides by 1 - sigmas[1] and keeps 1 - sigma elsewhere", "[dynamics]") {
  const double a = 0.7;
  for (const double second : {0.96, 0.5}) {
    const sigma_step at{.sigma = 1, .sigma_next = second};
    // g^2 = a^2 / (1 - sigmas[1]), so std = a and alpha = 1 - a^2 / 2; the (1 - sigma) factor of beta's correction
    // is 0.
    check_coefficients(tempflow::flow_sde{a}(at), 1 - a * a / 2, -(1 - second), a);
  }
  // The rule is for exactly 1: below, sigma stands for itself, until the noise has no bound.
  const double sigma = 1 - 1e-5;
  const auto below = tempflow::flow_sde{a}({.sigma = sigma, .sigma_next = 0.4});
  CHECK(below.diffusion == Approx(a * std::sqrt(sigma / (1 - sigma))).epsilon(1e-12));
  CHECK_THROWS_AS(tempflow::flow_sde{a}({.sigma = std::nextafter(1.0, 0.0), .sigma_next = 0.4}),
                  tempflow::schedule_error);
}

TEST_CASE("on the usual grids Flow-SDE's first step has std = a and alpha = 1 - a^2 / 2", "[dynamics]") {
  for (const double a : {0.3, 0.7, 0.9, 1.2}) {
    for (const auto& grid : {tempflow::sd3_sigmas(10), tempflow::flux_sigmas(10, 4096),
                             tempflow::qwen_image_sigmas(10), tempflow::shifted_linspace_sigmas(16)}) {
      const sigma_step at{.sigma = grid[0], .sigma_next = grid[1]};
      check_coefficients(tempflow::flow_sde{a}(at), 1 - a * a / 2, -(1 - grid[1]), a);
    }
  }
}

TEST_CASE("Dance-SDE has the constant diffusion eta and corrects the drift by the score", "[dynamics]") {
  for (const double eta : {0.3, 0.7}) {
    for (const auto& at : steps_of_all_grids()) {
      const double dt = at.sigma - at.sigma_next;
      // DanceGRPO: mean = x + dsigma v + (-eta^2 / 2) score dsigma, dsigma = -Dt,
      // score = -(x - (1 - sigma) x0) / sigma^2 with x0 = x - sigma v.
      const double score_x = -(1 - (1 - at.sigma)) / (at.sigma * at.sigma);
      const double score_v = -(1 - at.sigma) * at.sigma / (at.sigma * at.sigma);
      check_coefficients(tempflow::dance_sde{eta}(at), 1 + eta * eta / 2 * dt * score_x,
                         -dt + eta * eta / 2 * dt * score_v, eta * std::sqrt(dt));
    }
  }
}

TEST_CASE("CPS recombines predicted data and noise with std = sigma' sin(a pi / 2)", "[dynamics]") {
  for (const double a : {0.0, 0.3, 0.7, 0.9, 1.0}) {
    for (const auto& at : steps_of_all_grids()) {
      // mean = x0 (1 - sigma') + n sigma' cos(a pi / 2), x0 = x - sigma v, n = x + (1 - sigma) v.
      const double next = at.sigma_next, kept = next * std::cos(a * pi / 2);
      const auto made = tempflow::flow_cps{a}(at);
      INFO("a = " << a);
      CHECK(made.std == near(next * std::sin(a * pi / 2)));
      // cos(a pi / 2) = sqrt(1 - sin^2) loses digits as a nears 1, where it vanishes.
      CHECK(made.alpha == Approx(1 - next + kept).epsilon(1e-13).margin(1e-8 * (a == 1.0 ? 1 : 1e-6)));
      CHECK(made.beta == Approx(-at.sigma * (1 - next) + (1 - at.sigma) * kept)
                             .epsilon(1e-13)
                             .margin(1e-8 * (a == 1.0 ? 1 : 1e-6)));
    }
  }
}

TEST_CASE("DDIM with eta keeps alpha and beta consistent with its std", "[dynamics]") {
  for (const double eta : {0.0, 0.5, 1.0}) {
    for (const auto& at : steps_of_all_grids()) {
      // kept = sqrt(sigma'^2 - std^2) with std = eta sigma' sqrt(1 - ratio^2), without its cancellation at
      // eta = 1.
      const double ratio = at.sigma_next * (1 - at.sigma) / (at.sigma * (1 - at.sigma_next));
      const double std = eta * at.sigma_next * std::sqrt(1 - ratio * ratio);
      const double kept = at.sigma_next * std::sqrt(1 - eta * eta + eta * eta * ratio * ratio);
      check_coefficients(tempflow::ddim{eta}(at), 1 - at.sigma_next + kept,
                         -at.sigma * (1 - at.sigma_next) + (1 - at.sigma) * kept, std);
    }
  }
}

TEST_CASE("DDIM with eta = 1 is the first-order SDE of DPM-Solver++", "[dynamics]") {
  for (const auto& at : steps_of_all_grids()) {
    if (at.sigma == 1 || at.sigma_next == 0) continue;  // log-SNRs are finite in between
    const auto log_snr = [](double sigma) { return std::log((1 - sigma) / sigma); };
    const double h = log_snr(at.sigma_next) - log_snr(at.sigma);
    // mean = (sigma'/sigma) e^-h x + (1 - sigma') (1 - e^-2h) x0, x0 = x - sigma v; std = sigma' sqrt(1 -
    // e^-2h).
    const double of_x = at.sigma_next / at.sigma * std::exp(-h);
    const double of_data = (1 - at.sigma_next) * -std::expm1(-2 * h);
    const auto made = tempflow::ddim{1}(at);
    INFO("sigma " << at.sigma << " to " << at.sigma_next);
    CHECK(made.alpha == Approx(of_x + of_data).epsilon(1e-12));
    CHECK(made.beta == Approx(-at.sigma * of_data).epsilon(1e-12));
    CHECK(made.std == Approx(at.sigma_next * std::sqrt(-std::expm1(-2 * h))).epsilon(1e-12));
  }
}

TEST_CASE("without noise every dynamics is the ODE", "[dynamics]") {
  for (const auto& at : steps_of_all_grids()) {
    const double dt = at.sigma - at.sigma_next;
    check_coefficients(tempflow::flow_sde{0}(at), 1, -dt, 0);
    check_coefficients(tempflow::dance_sde{0}(at), 1, -dt, 0);
    check_coefficients(tempflow::flow_cps{0}(at), 1, -dt, 0);
    check_coefficients(tempflow::ddim{0}(at), 1, -dt, 0);
  }
}

TEST_CASE("the coefficient-preserving samplers are deterministic where they reach sigma = 0", "[dynamics]") {
  const sigma_step last{.sigma = 0.1, .sigma_next = 0};
  check_coefficients(tempflow::flow_cps{0.7}(last), 1, -0.1, 0);
  check_coefficients(tempflow::ddim{1}(last), 1, -0.1, 0);
}

TEST_CASE("a transition carries its noise levels, its Dt and g = std / sqrt(Dt)", "[dynamics]") {
  for (const auto& at : steps_of_all_grids()) {
    for (const auto& made : {tempflow::flow_sde{0.7}(at), tempflow::dance_sde{0.3}(at),
                             tempflow::flow_cps{0.7}(at), tempflow::ddim{0.5}(at)}) {
      CHECK(made.sigma == at.sigma);
      CHECK(made.sigma_next == at.sigma_next);
      CHECK(made.dt == at.sigma - at.sigma_next);
      CHECK(made.diffusion == near(made.std / std::sqrt(made.dt)));
    }
  }
}

TEST_CASE("a sigma that is almost 1 has unbounded Flow-SDE noise: an error that names it", "[dynamics]") {
  const double almost = std::nextafter(1.0, 0.0);
  CHECK_THROWS_MATCHES(tempflow::flow_sde{0.7}({.sigma = almost, .sigma_next = 0.4}),
                       tempflow::schedule_error,
                       MessageMatches(ContainsSubstring("sigma = 0.9999999999999999")));
  CHECK_THROWS_MATCHES(tempflow::flow_sde{0.7}({.sigma = 1, .sigma_next = almost}), tempflow::schedule_error,
                       MessageMatches(ContainsSubstring("sigma_next = 0.9999999999999999")));
}

TEST_CASE("noise levels outside their range are errors that name level and value", "[dynamics]") {
  const sigma_step at{.sigma = 0.5, .sigma_next = 0.25};
  CHECK_THROWS_MATCHES(tempflow::flow_sde{-0.5}(at), value_error,
                       MessageMatches(ContainsSubstring("flow_sde") && ContainsSubstring("-0.5")));
  CHECK_THROWS_MATCHES(tempflow::flow_sde{std::nan("")}(at), value_error,
                       MessageMatches(ContainsSubstring("nan")));
  CHECK_THROWS_MATCHES(tempflow::dance_sde{-1}(at), value_error,
                       MessageMatches(ContainsSubstring("dance_sde") && ContainsSubstring("-1")));
  CHECK_THROWS_MATCHES(tempflow::flow_cps{1.25}(at), value_error,
                       MessageMatches(ContainsSubstring("flow_cps") && ContainsSubstring("1.25")));
  CHECK_THROWS_MATCHES(tempflow::ddim{-0.25}(at), value_error,
                       MessageMatches(ContainsSubstring("ddim") && ContainsSubstring("-0.25")));
  CHECK_THROWS_AS(tempflow::ddim{1.5}(at), value_error);
}
