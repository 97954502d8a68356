// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Log-probs and KL of a transition as scalar functions, from the density of the normal distribution.

#include "tempflow/objective/gaussian.hpp"

#include <cmath>
#include <numbers>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "tempflow/objective/kl.hpp"

using tempflow::index_t;
using tempflow::kl_denominator;
using tempflow::log_prob_convention;
using tempflow::log_prob_reduction;
using tempflow::log_prob_terms;
using tempflow::transition;

namespace {

constexpr transition step{
    .alpha = 0.9, .beta = -0.3, .std = 0.25, .sigma = 0.8, .sigma_next = 0.6, .dt = 0.2, .diffusion = 0.559};

// log N(y; mean, std^2), term by term.
double density(double y, double mean) {
  const double z = (y - mean) / step.std;
  return std::log(std::exp(-z * z / 2) / (step.std * std::sqrt(2 * std::numbers::pi)));
}

struct sample {
  std::vector<double> x, v, y;

  explicit sample(index_t size) {
    support::numbers source(1);
    x = source.take(size), v = source.take(size), y = source.take(size);
  }

  double mean(std::size_t e) const { return step.alpha * x[e] + step.beta * v[e]; }

  double squared_residual() const {
    double sum = 0;
    for (std::size_t e = 0; e < x.size(); ++e) sum += (y[e] - mean(e)) * (y[e] - mean(e));
    return sum;
  }

  double log_prob(log_prob_convention convention) const {
    return tempflow::gaussian_log_prob(squared_residual(), step, static_cast<index_t>(x.size()), convention);
  }
};

}  // namespace

TEST_CASE("the summed log-prob is the log-density of the whole sample", "[gaussian]") {
  const sample drawn(7);
  double expected = 0;
  for (std::size_t e = 0; e < 7; ++e) expected += density(drawn.y[e], drawn.mean(e));
  CHECK(drawn.log_prob({.reduction = log_prob_reduction::sum}) == Approx(expected).epsilon(1e-13));
}

TEST_CASE("the mean log-prob is the summed one divided by the elements, constants included", "[gaussian]") {
  for (const auto terms :
       {log_prob_terms::all, log_prob_terms::without_constants, log_prob_terms::squared_error}) {
    const sample drawn(7);
    CHECK(drawn.log_prob({log_prob_reduction::mean, terms}) ==
          Approx(drawn.log_prob({log_prob_reduction::sum, terms}) / 7).epsilon(1e-14));
  }
}

TEST_CASE("without constants only the quadratic term is left", "[gaussian]") {
  const sample drawn(7);
  const auto reduction = log_prob_reduction::mean;
  const double quadratic = -drawn.squared_residual() / 7 / (2 * step.std * step.std);
  CHECK(drawn.log_prob({reduction, log_prob_terms::without_constants}) == Approx(quadratic).epsilon(1e-14));
  CHECK(drawn.log_prob({reduction, log_prob_terms::all}) ==
        Approx(quadratic - std::log(step.std) - 0.5 * std::log(2 * std::numbers::pi)).epsilon(1e-14));
}

TEST_CASE("Flow-CPS's log-prob is minus the mean squared residual", "[gaussian]") {
  const sample drawn(7);
  CHECK(drawn.log_prob({log_prob_reduction::mean, log_prob_terms::squared_error}) ==
        Approx(-drawn.squared_residual() / 7).epsilon(1e-14));
}

TEST_CASE("the field's convention is the default: mean, with constants", "[gaussian]") {
  CHECK(log_prob_convention{} == log_prob_convention{log_prob_reduction::mean, log_prob_terms::all});
}

TEST_CASE("the slope times the residual is the derivative of the log-prob by the velocity", "[gaussian]") {
  const double h = 1e-5;
  for (const auto reduction : {log_prob_reduction::mean, log_prob_reduction::sum}) {
    for (const auto terms :
         {log_prob_terms::all, log_prob_terms::without_constants, log_prob_terms::squared_error}) {
      const log_prob_convention convention{reduction, terms};
      const sample at(5);
      for (std::size_t e = 0; e < 5; ++e) {
        sample up = at, down = at;
        up.v[e] += h;
        down.v[e] -= h;
        const double numeric = (up.log_prob(convention) - down.log_prob(convention)) / (2 * h);
        const double slope = tempflow::log_prob_slope(step, 5, convention);
        CHECK(slope * (at.y[e] - at.mean(e)) == Approx(numeric).epsilon(1e-8).margin(1e-9));
      }
    }
  }
}

TEST_CASE("the KL over the transition variance is the KL of two normals with that variance", "[kl]") {
  // KL(N(m1, s^2) || N(m2, s^2)) = (m1 - m2)^2 / (2 s^2), averaged over the elements; m1 - m2 = beta (v -
  // v_ref).
  support::numbers source(2);
  const auto v = source.take(6), reference = source.take(6);
  double squared = 0, expected = 0;
  for (std::size_t e = 0; e < 6; ++e) {
    squared += (v[e] - reference[e]) * (v[e] - reference[e]);
    const double m1 = 0.4 + step.beta * v[e], m2 = 0.4 + step.beta * reference[e];
    expected += (m1 - m2) * (m1 - m2) / (2 * step.std * step.std) / 6;
  }
  const auto kl = [&](kl_denominator over) { return tempflow::gaussian_kl(squared, step, 6, over); };
  CHECK(kl(kl_denominator::transition_variance) == Approx(expected).epsilon(1e-13));
  // Flow-GRPO's code divides by 2 g^2, Flow-CPS's by nothing.
  CHECK(kl(kl_denominator::diffusion) ==
        Approx(expected * step.std * step.std / (step.diffusion * step.diffusion)).epsilon(1e-13));
  CHECK(kl(kl_denominator::unit) == Approx(expected * 2 * step.std * step.std).epsilon(1e-13));
}

TEST_CASE("over the diffusion coefficient the KL is Dt times the KL of the transition", "[kl]") {
  transition exact = step;
  exact.diffusion = exact.std / std::sqrt(exact.dt);
  CHECK(tempflow::gaussian_kl(3, exact, 6, kl_denominator::diffusion) ==
        Approx(exact.dt * tempflow::gaussian_kl(3, exact, 6, kl_denominator::transition_variance))
            .epsilon(1e-13));
}

TEST_CASE("the KL's slope times the difference is its derivative by the velocity", "[kl]") {
  const double h = 1e-5, difference = 0.37;
  for (const auto over :
       {kl_denominator::transition_variance, kl_denominator::diffusion, kl_denominator::unit}) {
    const auto kl = [&](double d) { return tempflow::gaussian_kl(d * d + 1.5, step, 6, over); };
    const double numeric = (kl(difference + h) - kl(difference - h)) / (2 * h);
    CHECK(tempflow::kl_slope(step, 6, over) * difference == Approx(numeric).epsilon(1e-8));
  }
}
