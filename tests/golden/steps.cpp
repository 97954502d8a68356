// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Steps of the published implementations: mean, std and log-prob of Flow-SDE, CPS and Dance-SDE, on both
// backends and in fp32 and fp64 storage.

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/log_prob.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/schedule/chain.hpp"

using tempflow::index_t;
using tempflow::transition;

namespace {

constexpr double eps = 0x1p-24;  // relative size of one fp32 rounding

struct recorded_step {
  std::string kind;
  double noise_level;
  index_t batch, dim;
  std::vector<double> sigmas, x, v, y, mean, log_prob;
  double std_returned;
  transition step;

  explicit recorded_step(const nlohmann::json& recorded)
      : kind(recorded.at("kind").get<std::string>()),
        noise_level(recorded.at("noise_level").get<double>()),
        batch(recorded.at("batch").get<index_t>()),
        dim(recorded.at("dim").get<index_t>()),
        sigmas(support::numbers_of(recorded.at("sigmas"))),
        x(support::numbers_of(recorded.at("x"))),
        v(support::numbers_of(recorded.at("v"))),
        y(support::numbers_of(recorded.at("x_prev"))),
        mean(support::numbers_of(recorded.at("mean"))),
        log_prob(support::numbers_of(recorded.at("log_prob"))),
        std_returned(recorded.at("std_returned").get<double>()),
        step(make(recorded.at("step").get<index_t>())) {}

  transition make(index_t i) const {
    if (kind == "flow_sde") return tempflow::make_chain(sigmas, tempflow::flow_sde{noise_level})[i];
    if (kind == "flow_cps") return tempflow::make_chain(sigmas, tempflow::flow_cps{noise_level})[i];
    REQUIRE(kind == "dance_sde");
    return tempflow::make_chain(sigmas, tempflow::dance_sde{noise_level})[i];
  }

  tempflow::log_prob_convention convention() const {
    return {.terms =
                kind == "flow_cps" ? tempflow::log_prob_terms::squared_error : tempflow::log_prob_terms::all};
  }

  // How far fp32 rounding can move the reference's mean of element e: at most 16 roundings along its formula,
  // each relative to the largest intermediate there.
  double mean_error(std::size_t e) const {
    const double sigma = step.sigma, next = step.sigma_next, g = step.diffusion;
    const double ax = std::abs(x[e]), av = std::abs(v[e]);
    if (kind == "flow_sde") {  // x (1 + g^2 dt / (2 sigma)) + v (1 + g^2 (1 - sigma) / (2 sigma)) dt
      return 16 * eps * (ax * (1 + g * g * step.dt / (2 * sigma)) + av * std::abs(step.beta));
    }
    const double data = ax + sigma * av, noise = ax + (1 - sigma) * av;
    if (kind ==
        "flow_cps") {  // x0 (1 - sigma') + n sqrt(sigma'^2 - std^2): the root's rounding grows by 1 / kept
      const double kept = std::sqrt(next * next - step.std * step.std);
      return 16 * eps * (data * (1 - next) + noise * (kept + next * next / kept));
    }
    // x + v dt - eta^2 / 2 score dt with score = -(x - x0 (1 - sigma)) / sigma^2
    return 16 * eps * (ax + av * step.dt + g * g / 2 * step.dt * (ax + data) / (sigma * sigma));
  }

  // The library's own rounding of alpha x + beta v in fp32: coefficients, products, sum, and the store.
  double own_error(std::size_t e, bool fp32) const {
    return fp32 ? 4 * eps * (std::abs(step.alpha * x[e]) + std::abs(step.beta * v[e])) : 0;
  }

  // What those errors do to a log-prob -mean(r^2) / (2 s^2) - log s - log(2 pi) / 2: first and second order
  // in the mean's error, and 24 roundings for s (10 of them), squares, quotient and sums.
  double log_prob_error(index_t row, bool fp32) const {
    double moved = 0, squared = 0;
    for (index_t k = 0; k < dim; ++k) {
      const auto e = static_cast<std::size_t>(row * dim + k);
      const double error = mean_error(e) + own_error(e, fp32), r = std::abs(y[e] - mean[e]);
      moved += 2 * r * error + error * error;
      squared += r * r;
    }
    const double scale = kind == "flow_cps" ? 1 / static_cast<double>(dim)
                                            : 1 / (2 * step.std * step.std * static_cast<double>(dim));
    return scale * (moved + 24 * eps * squared) + 24 * eps * (std::abs(std::log(step.std)) + 1);
  }
};

template <class T, class B>
void check_recorded(const recorded_step& golden, const B& backend) {
  const auto x = support::batch_of<T>(golden.batch, golden.dim, golden.x);
  const auto v = support::batch_of<T>(golden.batch, golden.dim, golden.v);
  const auto y = support::batch_of<T>(golden.batch, golden.dim, golden.y);
  const bool fp32 = std::is_same_v<T, float>;

  tempflow::batch_buffer<T> mean(golden.batch, golden.dim);
  tempflow::ode_step(backend, x.view(), v, golden.step, mean);
  const auto computed = support::values_of(mean.view());
  for (std::size_t e = 0; e < computed.size(); ++e) {
    INFO("mean of element " << e);
    CHECK(std::abs(computed[e] - golden.mean[e]) <= golden.mean_error(e) + golden.own_error(e, fp32));
  }

  std::vector<double> log_prob(static_cast<std::size_t>(golden.batch));
  tempflow::log_prob(backend, x.view(), v, y, golden.step, log_prob, golden.convention());
  for (index_t row = 0; row < golden.batch; ++row) {
    const auto i = static_cast<std::size_t>(row);
    INFO("log-prob of row " << row);
    CHECK(std::abs(log_prob[i] - golden.log_prob[i]) <= golden.log_prob_error(row, fp32));
  }
}

}  // namespace

TEST_CASE("steps have the published means and log-probs in every storage and on every backend", "[golden]") {
  const auto& cases = support::golden("steps");
  REQUIRE(cases.size() == 37);
  for (const auto& recorded : cases) {
    const recorded_step golden(recorded);
    INFO(golden.kind << " at " << golden.noise_level << ", sigma " << golden.step.sigma);
    check_recorded<float>(golden, tempflow::cpu_backend(1));
    check_recorded<double>(golden, tempflow::cpu_backend(1));
    check_recorded<float>(golden, tempflow::reference_backend());
    check_recorded<double>(golden, tempflow::reference_backend());
  }
}

TEST_CASE("steps have the published std: the diffusion for Flow-SDE, the transition's own elsewhere",
          "[golden]") {
  for (const auto& recorded : support::golden("steps")) {
    const recorded_step golden(recorded);
    const double std = golden.kind == "flow_sde" ? golden.step.diffusion : golden.step.std;
    INFO(golden.kind << " at " << golden.noise_level << ", sigma " << golden.step.sigma);
    CHECK(std::abs(std - golden.std_returned) <= 8 * eps * golden.std_returned);
  }
}
