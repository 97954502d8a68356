// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Whether a sampler keeps the distribution of x_sigma = (1 - sigma) data + sigma noise, on normal data with
// the exact velocity: mean and variance of the samples are propagated in closed form.

#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/schedule/chain.hpp"

using tempflow::chain;
using tempflow::index_t;

namespace {

// Data N(0.7, tau^2) in one dimension.
constexpr double data_mean = 0.7;

struct moments {
  double mean, variance;
};

moments marginal(double sigma, double tau) {
  return {(1 - sigma) * data_mean, (1 - sigma) * (1 - sigma) * tau * tau + sigma * sigma};
}

// E[noise - data | x] = slope x + offset.
struct exact_velocity {
  double slope, offset;

  exact_velocity(double sigma, double tau)
      : slope((sigma - (1 - sigma) * tau * tau) / marginal(sigma, tau).variance),
        offset(-data_mean - slope * marginal(sigma, tau).mean) {}
};

// Moments of the samples at the end of a chain that starts from the exact marginal.
moments sampled(const chain& steps, double tau) {
  moments at = marginal(steps.sigmas().front(), tau);
  for (index_t i = 0; i < steps.steps(); ++i) {
    const auto& step = steps[i];
    const exact_velocity v(step.sigma, tau);
    const double k = step.alpha + step.beta * v.slope;
    at = {k * at.mean + step.beta * v.offset, k * k * at.variance + step.std * step.std};
  }
  return at;
}

std::vector<double> even_grid(double first, index_t steps) {
  std::vector<double> sigmas;
  for (index_t i = 0; i <= steps; ++i) {
    sigmas.push_back(first * static_cast<double>(steps - i) / static_cast<double>(steps));
  }
  return sigmas;
}

template <class Rule>
double variance_error(const Rule& rule, double first, index_t steps, double tau = 0.5) {
  const auto made = tempflow::make_chain(even_grid(first, steps), rule);
  return std::abs(sampled(made, tau).variance - marginal(0, tau).variance);
}

// The order p of an error ~ T^-p, from T and 4 T.
template <class Rule>
double order_of(const Rule& rule, double first, index_t steps) {
  return std::log(variance_error(rule, first, steps) / variance_error(rule, first, 4 * steps)) /
         std::log(4.0);
}

}  // namespace

TEST_CASE("the ODE, Flow-SDE and Dance-SDE keep the variance of normal data with an error of 1 / T",
          "[closed_form]") {
  CHECK(order_of(tempflow::ode{}, 1, 400) == Approx(1).margin(0.05));
  for (const double a : {0.3, 0.7, 1.2}) {
    INFO("noise level " << a);
    CHECK(order_of(tempflow::flow_sde{a}, 0.95, 400) == Approx(1).margin(0.05));
    CHECK(order_of(tempflow::dance_sde{a}, 1, 400) == Approx(1).margin(0.05));
  }
}

TEST_CASE("Flow-SDE's rule at sigma == 1 leaves an error of T^-(a^2), which vanishes as steps grow",
          "[closed_form]") {
  // There std = a and alpha = 1 - a^2 / 2: the variance after the first step is too large by a^4 / 4 as T
  // grows. The Langevin drift -a^2 x / (2 (1 - sigma)) of the later steps lets it decay like (1 -
  // sigma)^-(a^2), from 1 / T on.
  const auto first = tempflow::make_chain(even_grid(1, 100000), tempflow::flow_sde{0.7})[0];
  CHECK(first.alpha * first.alpha + first.std * first.std == Approx(1 + std::pow(0.7, 4) / 4).epsilon(1e-9));
  CHECK(order_of(tempflow::flow_sde{0.5}, 1, 100000) == Approx(0.25).margin(0.02));
  CHECK(order_of(tempflow::flow_sde{0.7}, 1, 100000) == Approx(0.49).margin(0.02));
  CHECK(order_of(tempflow::flow_sde{1.2}, 1, 400) == Approx(1).margin(0.06));
}

TEST_CASE("every sampler keeps the mean exactly, at any number of steps", "[closed_form]") {
  // E[v] = -mean(data) along the marginal, so alpha (1 - sigma) - beta = 1 - sigma' is all it takes.
  for (const auto& made : {tempflow::make_chain(tempflow::sd3_sigmas(4), tempflow::flow_sde{0.7}),
                           tempflow::make_chain(tempflow::flux_sigmas(4), tempflow::dance_sde{0.5}),
                           tempflow::make_chain(tempflow::qwen_image_sigmas(4), tempflow::flow_cps{0.7}),
                           tempflow::make_chain(tempflow::shifted_linspace_sigmas(4), tempflow::ddim{1}),
                           tempflow::make_chain(even_grid(1, 4), tempflow::ode{})}) {
    for (index_t i = 0; i < made.steps(); ++i) {
      CHECK(made[i].alpha * (1 - made[i].sigma) - made[i].beta ==
            Approx(1 - made[i].sigma_next).epsilon(1e-12));
    }
    CHECK(sampled(made, 0.5).mean == Approx(data_mean).epsilon(1e-12));
  }
}

TEST_CASE("the coefficient-preserving samplers are exact in one step where the data is one point",
          "[closed_form]") {
  // Then v tells noise and data apart without error: (alpha sigma + beta ... )^2 + std^2 = sigma'^2 at any
  // step size.
  for (const double next : {0.9, 0.5, 0.02}) {
    const std::vector<double> grid{0.95, next};
    for (const auto& made :
         {tempflow::make_chain(grid, tempflow::flow_cps{0.7}),
          tempflow::make_chain(grid, tempflow::ddim{0.6}), tempflow::make_chain(grid, tempflow::ddim{1})}) {
      const auto at = sampled(made, 0);
      CHECK(at.mean == Approx((1 - next) * data_mean).epsilon(1e-12));
      CHECK(at.variance == Approx(next * next).epsilon(1e-12));
    }
  }
}
