// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The samplers of the field as transitions: each against its own published formula.

#include "tempflow/schedule/dynamics.hpp"

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/schedule/multistep.hpp"
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
}

TEST_CASE("a first knot from .999 up stands for pure noise, and has the rule of sigma == 1", "[dynamics]") {
  const double a = 0.7;
  // A UniPC grid: g^2 = a^2 sigma / (1 - sigma_next), alpha = 1 - a^2 Dt / (2 (1 - sigma_next)).
  const auto wan = tempflow::flow_sde{a}({.sigma = 0.9997, .sigma_next = 0.96});
  CHECK(wan.alpha == near(1 - a * a * 0.0397 / 0.08));
  CHECK(wan.std == near(a * std::sqrt(0.9997 * 0.0397 / 0.04)));
  CHECK(wan.beta == near(-0.0397 * (1 + a * a * 0.0003 / 0.08)));
  // As sigma nears 1 the step nears that of sigma == 1.
  for (const double sigma : {1 - 1e-5, 1 - 1e-9, std::nextafter(1.0, 0.0)}) {
    const auto step = tempflow::flow_sde{a}({.sigma = sigma, .sigma_next = 0.4});
    CHECK(step.alpha == Approx(1 - a * a / 2).margin(1e-5));
    CHECK(step.std == Approx(a).margin(1e-5));
  }
  // Below, and at the second knot of a fine grid, sigma stands for itself.
  for (const auto& at : {sigma_step{0.998, 0.9}, sigma_step{0.9995, 0.999}, sigma_step{0.999, 0.998}}) {
    CHECK_FALSE(tempflow::leaves_pure_noise(at));
    CHECK(tempflow::flow_sde{a}(at).diffusion == near(a * std::sqrt(at.sigma / (1 - at.sigma))));
  }
  CHECK(tempflow::leaves_pure_noise({0.999, 0.9}));
  CHECK(tempflow::leaves_pure_noise({1, 0.99999}));
}

TEST_CASE("Wan's SDE has g linear in sigma, up to the grid's second knot", "[dynamics]") {
  const auto grid = tempflow::wan_sigmas(20, 3);
  const auto rule = tempflow::wan_sde::on(grid);
  CHECK(rule.sigma_max == grid[1]);
  CHECK(rule.sigma_min == 0);
  const auto first = rule({grid[0], grid[1]});
  CHECK(std::abs(first.std - 0.129) < 5e-4);
  CHECK(std::abs(first.alpha - 0.992) < 5e-4);
  for (const auto& at : steps_of_all_grids()) {
    const double g = 0.1 + (0.9 - 0.1) * at.sigma, dt = at.sigma - at.sigma_next;
    check_coefficients(tempflow::wan_sde{.sigma_max = 0.9, .sigma_min = 0.1}(at),
                       1 - dt * g * g / (2 * at.sigma), -dt * (1 + g * g * (1 - at.sigma) / (2 * at.sigma)),
                       g * std::sqrt(dt));
  }
  CHECK_THROWS_MATCHES(tempflow::wan_sde{}({0.5, 0.25}), value_error,
                       MessageMatches(ContainsSubstring("wan_sde: sigma_max = nan")));
  CHECK_THROWS_MATCHES((tempflow::wan_sde{.sigma_max = 0.5, .sigma_min = -1}({0.5, 0.25})), value_error,
                       MessageMatches(ContainsSubstring("wan_sde: sigma_min = -1")));
  CHECK_THROWS_AS(tempflow::wan_sde::on(std::vector<double>{1}), tempflow::schedule_error);
}

TEST_CASE("a sampler of one's own is one of the two families with a noise of its own", "[dynamics]") {
  for (const auto& at : steps_of_all_grids()) {
    const double dt = at.sigma - at.sigma_next;
    // mean = x + score g^2 / 2 Dt - Dt v with score = -(x + (1 - sigma) v) / sigma.
    const double g = 0.4 * at.sigma;
    check_coefficients(tempflow::langevin(at, g), 1 - g * g / 2 * dt / at.sigma,
                       -dt - g * g / 2 * dt * (1 - at.sigma) / at.sigma, g * std::sqrt(dt));
    // mean = (1 - sigma') x0 + q n with q^2 + std^2 = sigma'^2; here (3, 4, 5) / 5.
    const double next = at.sigma_next, q = 0.8 * next;
    check_coefficients(tempflow::coefficient_preserving(at, 0.6 * next), 1 - next + q,
                       -at.sigma * (1 - next) + (1 - at.sigma) * q, 0.6 * next);
  }
}

TEST_CASE("the two families refuse steps and noise that are none, and name them", "[dynamics]") {
  using tempflow::coefficient_preserving;
  using tempflow::langevin;
  using tempflow::schedule_error;
  const sigma_step at{.sigma = 0.5, .sigma_next = 0.25};
  CHECK_THROWS_MATCHES(langevin(at, -0.5), value_error,
                       MessageMatches(ContainsSubstring("langevin: diffusion = -0.5")));
  CHECK_THROWS_AS(langevin(at, std::nan("")), value_error);
  CHECK_THROWS_MATCHES(coefficient_preserving(at, 0.3), value_error,
                       MessageMatches(ContainsSubstring("coefficient_preserving: std = 0.3")));
  CHECK_THROWS_AS(coefficient_preserving(at, -0.1), value_error);
  CHECK_THROWS_AS(coefficient_preserving(at, std::nan("")), value_error);
  for (const auto& wrong : {sigma_step{0.25, 0.5}, sigma_step{0.5, 0.5}, sigma_step{1.5, 0.5},
                            sigma_step{0.5, -0.5}, sigma_step{std::nan(""), 0.5}}) {
    CHECK_THROWS_AS(langevin(wrong, 0.5), schedule_error);
    CHECK_THROWS_AS(coefficient_preserving(wrong, 0.1), schedule_error);
  }
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

TEST_CASE("a step that stays almost at 1 has unbounded Flow-SDE noise: an error that names it",
          "[dynamics]") {
  const double almost = std::nextafter(1.0, 0.0);
  CHECK_THROWS_MATCHES(tempflow::flow_sde{0.7}({.sigma = 1 - 2e-7, .sigma_next = 1 - 3e-7}),
                       tempflow::schedule_error, MessageMatches(ContainsSubstring("sigma = 0.9999998")));
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

TEST_CASE("a step of second order behind one without length in lambda is of first order", "[dynamics]") {
  // log((1 - s) / s) is 460 for both, and doubles there lie 5.7e-14 apart.
  const double sigma = 1e-200, before = std::nextafter(sigma, 1.0);
  const auto step = tempflow::dpm_solver_2m(before, {.sigma = sigma, .sigma_next = sigma / 2});
  CHECK(step.previous == 0);
  CHECK((step.alpha == 0.5 && step.beta == 0.5));
  CHECK(tempflow::dpm_solver_2m(2 * sigma, {.sigma = sigma, .sigma_next = sigma / 2}).previous < 0);
}

TEST_CASE("a step of second order to a subnormal sigma is of first order", "[dynamics]") {
  const double next = std::numeric_limits<double>::min() / 8;  // 1 / next is infinite
  const auto step = tempflow::dpm_solver_2m(64 * next, {.sigma = 32 * next, .sigma_next = next});
  CHECK(step.previous == 0);
  CHECK((step.alpha == 0.03125 && step.beta == 1 - 0.03125));
}
