// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Timestep weights: the constants that TempFlow-GRPO's authors hard-coded come out of the formula.

#include "tempflow/objective/timestep_weights.hpp"

#include <cmath>
#include <numeric>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/training/presets.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::chain;
using tempflow::index_t;
using tempflow::preset;
using tempflow::schedule_error;
using tempflow::weight_normalization;

namespace {

chain chain_of(const preset& p) { return tempflow::make_chain(p.sigmas(), p.dynamics()); }

// weight = constant * std at every step: the constant.
double constant_of(const preset& p, weight_normalization over) {
  const auto steps = chain_of(p);
  const auto weights = tempflow::noise_aware_weights(steps, p.branch_steps(), over);
  REQUIRE(weights.size() == 10);
  const double constant = weights[0] / steps[0].std;
  for (index_t i = 0; i < 10; ++i) {
    CHECK(weights[static_cast<std::size_t>(i)] == Approx(constant * steps[i].std).epsilon(1e-14));
  }
  return constant;
}

}  // namespace

TEST_CASE("noise-aware weights reproduce 2.2522, 1.7260 and 1.5329 for the three models", "[weights]") {
  const auto over = weight_normalization::trained_steps;
  CHECK(std::abs(constant_of(tempflow::presets::sd3_5_medium(), over) - 2.2522) < 5e-5);
  CHECK(std::abs(constant_of(tempflow::presets::flux_1_dev(), over) - 1.7260) < 5e-5);
  CHECK(std::abs(constant_of(tempflow::presets::qwen_image(), over) - 1.5329) < 5e-5);
}

TEST_CASE("normalised over all ten steps the constants are 2.4986 and 1.8228", "[weights]") {
  const auto over = weight_normalization::all_steps;
  CHECK(std::abs(constant_of(tempflow::presets::sd3_5_medium(), over) - 2.4986) < 5e-5);
  CHECK(std::abs(constant_of(tempflow::presets::flux_1_dev(), over) - 1.8228) < 5e-5);
}

TEST_CASE("Stable Diffusion 3.5's weights are the published nine", "[weights]") {
  const auto p = tempflow::presets::sd3_5_medium();
  const auto weights = tempflow::noise_aware_weights(chain_of(p), p.branch_steps());
  // Published to four digits with the constant 2.25, which is 1.001 times smaller than 2.2522.
  const std::vector<double> published{1.575, 1.672, 1.206, 1.003, .882, .794, .718, .635, .507};
  for (std::size_t i = 0; i < published.size(); ++i) {
    INFO("step " << i);
    CHECK(std::abs(weights[i] * 2.25 / 2.2522 - published[i]) < 6e-4);
  }
}

TEST_CASE("noise-aware weights average to 1 over the steps they are normalised over", "[weights]") {
  const auto steps = chain_of(tempflow::presets::sd3_5_medium());
  const std::vector<index_t> trained{1, 4, 7};
  const auto weights = tempflow::noise_aware_weights(steps, trained);
  CHECK((weights[1] + weights[4] + weights[7]) / 3 == Approx(1).epsilon(1e-14));
  const auto over_all = tempflow::noise_aware_weights(steps, trained, weight_normalization::all_steps);
  CHECK(std::accumulate(over_all.begin(), over_all.end(), 0.0) / 10 == Approx(1).epsilon(1e-14));
}

TEST_CASE("without a normalisation noise-aware weights are the stds", "[weights]") {
  const auto steps = chain_of(tempflow::presets::sd3_5_medium());
  const auto weights =
      tempflow::noise_aware_weights(steps, std::vector<index_t>{1}, weight_normalization::none);
  for (index_t i = 0; i < 10; ++i) CHECK(weights[static_cast<std::size_t>(i)] == steps[i].std);
}

TEST_CASE("flat-gradient weights give a gradient of one size at every step, with mean 1", "[weights]") {
  // On policy a row's gradient goes with w |beta| / std.
  for (const auto& p : {tempflow::presets::sd3_5_medium(), tempflow::presets::flux_1_dev()}) {
    const auto steps = chain_of(p);
    const auto trained = p.branch_steps();
    const auto weights = tempflow::flat_gradient_weights(steps, trained);
    double total = 0;
    const double size = weights[0] * std::abs(steps[0].beta) / steps[0].std;
    for (const index_t i : trained) {
      total += weights[static_cast<std::size_t>(i)];
      CHECK(weights[static_cast<std::size_t>(i)] * std::abs(steps[i].beta) / steps[i].std ==
            Approx(size).epsilon(1e-14));
    }
    CHECK(total / static_cast<double>(trained.size()) == Approx(1).epsilon(1e-14));
  }
  const auto mixed =
      tempflow::make_chain({1, 0.75, 0.5, 0}, tempflow::flow_sde{0.7}, std::vector<index_t>{0, 2});
  CHECK(tempflow::flat_gradient_weights(mixed, std::vector<index_t>{0})[1] == 0);  // draws no noise
}

TEST_CASE("GRPO-Guard's weights are 1 / dt, and DanceGRPO's have eta's drift", "[weights]") {
  const std::vector<double> sigmas{1, 0.75, 0.5, 0.125};
  const double eta = 0.3;
  const auto steps = tempflow::make_chain(sigmas, tempflow::dance_sde{eta});
  const std::vector<index_t> trained{0, 1, 2};
  const auto plain = tempflow::guard_weights(steps, trained);
  CHECK(plain[0] == 4);
  CHECK(plain[1] == 4);
  CHECK(plain[2] == Approx(1 / 0.375).epsilon(1e-15));
  const auto dance = tempflow::guard_weights(steps, trained, tempflow::guard_weight::langevin);
  for (std::size_t i = 0; i < 3; ++i) {
    const double dt = sigmas[i] - sigmas[i + 1];
    CHECK(dance[i] == Approx((1 + eta * eta * (1 - sigmas[i]) / (2 * sigmas[i])) / dt).epsilon(1e-14));
    CHECK(dance[i] * dt * dt == Approx(std::abs(steps[static_cast<index_t>(i)].beta)).epsilon(1e-14));
  }
  const auto scaled = tempflow::guard_weights(steps, trained, tempflow::guard_weight::inverse_dt,
                                              weight_normalization::trained_steps);
  CHECK(scaled[0] + scaled[1] + scaled[2] == Approx(3).epsilon(1e-14));
  CHECK(scaled[0] / scaled[2] == Approx(plain[0] / plain[2]).epsilon(1e-14));
}

TEST_CASE("given weights are checked, and scaled on request", "[weights]") {
  const auto steps = tempflow::make_chain({1, 0.75, 0.5, 0.25}, tempflow::dance_sde{0.3});
  const std::vector<index_t> trained{0, 2};
  const std::vector<double> mine{1, 5, 3}, few{1, 5}, negative{1, -5, 3}, nothing{0, 5, 0},
      broken{1, 5, std::nan("")};
  CHECK(tempflow::given_weights(steps, trained, mine) == mine);
  CHECK(tempflow::given_weights(steps, trained, mine, weight_normalization::trained_steps) ==
        std::vector<double>{0.5, 2.5, 1.5});
  CHECK(tempflow::given_weights(steps, trained, mine, weight_normalization::all_steps)[1] == Approx(5.0 / 3));
  CHECK_THROWS_MATCHES(tempflow::given_weights(steps, trained, few), tempflow::shape_error,
                       MessageMatches(ContainsSubstring("2 weights") && ContainsSubstring("3 steps")));
  CHECK_THROWS_MATCHES(tempflow::given_weights(steps, trained, negative), tempflow::value_error,
                       MessageMatches(ContainsSubstring("weights[1] = -5")));
  CHECK_THROWS_MATCHES(tempflow::given_weights(steps, trained, broken), tempflow::value_error,
                       MessageMatches(ContainsSubstring("weights[2] = nan")));
  CHECK_THROWS_MATCHES(tempflow::given_weights(steps, trained, nothing), tempflow::value_error,
                       MessageMatches(ContainsSubstring("weight 0")));
  const std::vector<double> huge(3, 1.7e308);
  CHECK_THROWS_MATCHES(tempflow::given_weights(steps, trained, huge, weight_normalization::trained_steps),
                       tempflow::value_error, MessageMatches(ContainsSubstring("inf")));
}

TEST_CASE("uniform weights are 1 at every step of the chain", "[weights]") {
  CHECK(tempflow::uniform_weights(chain_of(tempflow::presets::flux_1_dev())) == std::vector<double>(10, 1.0));
}

TEST_CASE("trained steps that make no weights are errors that name the step", "[weights]") {
  const auto steps =
      tempflow::make_chain({1, 0.75, 0.5, 0}, tempflow::flow_sde{0.7}, std::vector<index_t>{0, 2});
  CHECK_THROWS_MATCHES(tempflow::noise_aware_weights(steps, std::vector<index_t>{0, 1}), schedule_error,
                       MessageMatches(ContainsSubstring("step 1") && ContainsSubstring("std = 0")));
  CHECK_THROWS_MATCHES(
      tempflow::flat_gradient_weights(steps, std::vector<index_t>{0, 1}), schedule_error,
      MessageMatches(ContainsSubstring("flat_gradient_weights") && ContainsSubstring("step 1")));
  CHECK_THROWS_MATCHES(tempflow::guard_weights(steps, std::vector<index_t>{1}), schedule_error,
                       MessageMatches(ContainsSubstring("guard_weights") && ContainsSubstring("step 1")));
  CHECK_THROWS_MATCHES(tempflow::given_weights(steps, std::vector<index_t>{1}, std::vector<double>(3, 1.0)),
                       schedule_error, MessageMatches(ContainsSubstring("given_weights")));
  const auto fixed = tempflow::make_chain({1, 0.5, 0.25}, [](const tempflow::sigma_step&) {
    return tempflow::transition{.alpha = 1, .beta = 0, .std = 0.1};
  });
  CHECK_THROWS_MATCHES(tempflow::flat_gradient_weights(fixed, std::vector<index_t>{0}), schedule_error,
                       MessageMatches(ContainsSubstring("step 0") && ContainsSubstring("beta = 0")));
  CHECK_THROWS_MATCHES(tempflow::noise_aware_weights(steps, std::vector<index_t>{}), schedule_error,
                       MessageMatches(ContainsSubstring("no trained steps")));
  CHECK_THROWS_MATCHES(tempflow::noise_aware_weights(steps, std::vector<index_t>{2, 0}), schedule_error,
                       MessageMatches(ContainsSubstring("steps[1] = 0")));
  CHECK_THROWS_MATCHES(tempflow::noise_aware_weights(steps, std::vector<index_t>{3}), schedule_error,
                       MessageMatches(ContainsSubstring("steps[0] = 3")));
}
