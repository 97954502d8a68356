// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The gradient of any loss of log-probs, from its factors: against finite differences of log_prob, and by hand.

#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/outputs.hpp"
#include "support/sibling_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/log_prob_gradient.hpp"

using support::sibling_problem;
using tempflow::batch_buffer;
using tempflow::cpu_backend;
using tempflow::index_t;

namespace {

constexpr index_t columns = 37;

std::vector<double> factors_for(index_t rows) { return support::numbers(21).take(rows); }

}  // namespace

TEST_CASE("the gradient is that of sum f log p, by finite differences", "[log_prob_gradient]") {
  const tempflow::reference_backend reference;
  for (const auto convention : support::all_conventions()) {
    sibling_problem<double> problem(reference, columns, support::mixed_counts, convention);
    const auto factors = factors_for(problem.total());
    batch_buffer<double> gradient(problem.states(), columns);
    CHECK(log_prob_gradient(reference, problem.batch(), problem.v, factors, gradient) == 0);
    const auto value = [&] {
      std::vector<double> log_probs(factors.size());
      tempflow::log_prob(reference, problem.batch(), problem.v, log_probs);
      double sum = 0;
      for (std::size_t i = 0; i < factors.size(); ++i) sum += factors[i] * log_probs[i];
      return sum;
    };
    for (index_t s = 0; s < problem.states(); ++s) {
      double& element = problem.v.view().row(s)[5];
      const double kept = element, step = 1e-3;  // the log-prob is quadratic: no error but rounding
      element = kept + step;
      const double above = value();
      element = kept - step;
      const double below = value();
      element = kept;
      const double expected = (above - below) / (2 * step);
      CHECK(gradient.view().row(s)[5] == Catch::Approx(expected).epsilon(1e-7).margin(1e-9));
    }
  }
}

TEMPLATE_TEST_CASE("each element is sum f beta r / (D std^2)", "[log_prob_gradient]", float,
                   tempflow::bfloat16) {
  const cpu_backend cpu(2);
  const sibling_problem<TestType> problem(cpu, columns);
  const auto factors = factors_for(problem.total());
  batch_buffer<float> gradient(problem.states(), columns);
  CHECK(log_prob_gradient(cpu, problem.batch(), problem.v, factors, gradient) == 0);
  for (std::size_t s = 0; s < problem.counts.size(); ++s) {
    const auto& step = problem.steps[s];
    const auto state = static_cast<index_t>(s);
    for (index_t e = 0; e < columns; ++e) {
      const double x = tempflow::load(problem.x.view().row(state)[e]),
                   v = tempflow::load(problem.v.view().row(state)[e]);
      double expected = 0, size = 0;
      for (index_t k = 0; k < problem.counts[s]; ++k) {
        const index_t row = problem.offsets[s] + k;
        const double y = tempflow::load(problem.rows.y.view().row(row)[e]);
        const double part = factors[static_cast<std::size_t>(row)] * step.beta *
                            (y - step.alpha * x - step.beta * v) / (columns * step.std * step.std);
        expected += part;
        size += std::abs(factors[static_cast<std::size_t>(row)] * step.beta) *
                (std::abs(y) + std::abs(step.alpha * x) + std::abs(step.beta * v)) /
                (columns * step.std * step.std);
      }
      CHECK(std::abs(gradient.view().row(state)[e] - expected) <= 0x1p-21 * size);
    }
  }
}

TEST_CASE("a factor of zero leaves a row out, and one that is not finite is an error",
          "[log_prob_gradient]") {
  const cpu_backend cpu(1);
  const sibling_problem<float> problem(cpu, columns);
  auto factors = factors_for(problem.total());
  for (std::size_t i = 0; i < 3; ++i) factors[i] = 0;  // all rows of the first state
  batch_buffer<float> gradient(problem.states(), columns);
  CHECK(log_prob_gradient(cpu, problem.batch(), problem.v, factors, gradient) == 0);
  for (index_t e = 0; e < columns; ++e) CHECK(gradient.view().row(0)[e] == 0);
  const auto before = support::values_of(gradient.view());
  factors[4] = tempflow::not_a_number;
  support::check_throws<tempflow::value_error>(
      [&] { return log_prob_gradient(cpu, problem.batch(), problem.v, factors, gradient); },
      {"factors[4] = nan"});
  factors.pop_back();
  support::check_throws<tempflow::shape_error>(
      [&] { return log_prob_gradient(cpu, problem.batch(), problem.v, factors, gradient); },
      {"log_prob_gradient", "factors"});
  CHECK(support::values_of(gradient.view()) == before);
}

TEST_CASE("what is drawn again has the gradient of what was stored, but for the rounding of y",
          "[log_prob_gradient]") {
  const cpu_backend cpu(1);
  const sibling_problem<float> problem(cpu, columns);
  const auto factors = factors_for(problem.total());
  batch_buffer<float> stored(problem.states(), columns), again(problem.states(), columns);
  CHECK(log_prob_gradient(cpu, problem.batch(), problem.v, factors, stored) == 0);
  CHECK(log_prob_gradient(cpu, problem.drawn_again(), problem.v, factors, again) == 0);
  for (index_t s = 0; s < problem.states(); ++s) {
    const auto& step = problem.steps[static_cast<std::size_t>(s)];
    const double part = std::abs(step.beta) / (columns * step.std * step.std);
    for (index_t e = 0; e < columns; ++e)
      CHECK(std::abs(stored.view().row(s)[e] - again.view().row(s)[e]) <= 20 * 0x1p-22 * 6 * part);
  }
}

TEST_CASE("rows that fp16 loses or cannot hold are told", "[log_prob_gradient]") {
  const cpu_backend cpu(1);
  const sibling_problem<float> problem(cpu, columns);
  batch_buffer<tempflow::float16> gradient(problem.states(), columns);
  std::vector<tempflow::policy_row> rows(static_cast<std::size_t>(problem.total()));
  const std::vector<double> small(rows.size(), 1e-9), large(rows.size(), 1e9);
  log_prob_gradient(cpu, problem.batch(), problem.v, small, gradient, std::span(rows));
  for (const auto& row : rows) CHECK((row.finite == 1 && row.underflowed == 1));
  CHECK(log_prob_gradient(cpu, problem.batch(), problem.v, large, gradient) == problem.total());
  for (const double value : support::values_of(gradient.view())) CHECK(value == 0);
}
