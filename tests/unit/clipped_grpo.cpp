// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The clipped GRPO objective as a scalar function, from max(-w A r, -w A clip(r, 1 - low, 1 + high)).

#include "tempflow/objective/clipped_grpo.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/catch.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::clipped_grpo;
using tempflow::value_error;

namespace {

double defined_loss(const clipped_grpo& objective, double log_ratio, double advantage, double weight) {
  const double a = std::clamp(advantage, -objective.advantage_clip, objective.advantage_clip);
  const double r = std::exp(log_ratio);
  const double clipped = std::clamp(r, 1 - objective.clip.low, 1 + objective.clip.high);
  return std::max(-weight * a * r, -weight * a * clipped);
}

const clipped_grpo symmetric{.clip = {0.2, 0.2}};
const clipped_grpo asymmetric{.clip = {0.1, 0.3}};

}  // namespace

TEST_CASE("the clipped loss is the maximum of both branches", "[objective]") {
  for (const auto& objective : {symmetric, asymmetric, clipped_grpo{}}) {
    for (const double log_ratio : {-2.0, -0.3, -0.15, -1e-5, 0.0, 1e-5, 0.15, 0.2, 0.3, 2.0}) {
      for (const double advantage : {-7.0, -1.5, 0.0, 0.5, 3.0, 9.0}) {
        for (const double weight : {0.0, 0.5, 1.7}) {
          INFO("log-ratio " << log_ratio << ", advantage " << advantage << ", weight " << weight);
          CHECK(objective(log_ratio, advantage, weight).loss ==
                Approx(defined_loss(objective, log_ratio, advantage, weight)).epsilon(1e-14));
        }
      }
    }
  }
}

TEST_CASE("the slope is the loss's derivative wherever the loss has one", "[objective]") {
  const double h = 1e-6;
  for (const auto& objective : {symmetric, asymmetric}) {
    for (const double log_ratio : {-2.0, -0.3, -0.15, -0.05, 0.0, 0.05, 0.15, 0.23, 0.3, 2.0}) {
      for (const double advantage : {-7.0, -1.5, 0.5, 3.0}) {
        const double numeric = (defined_loss(objective, log_ratio + h, advantage, 1.7) -
                                defined_loss(objective, log_ratio - h, advantage, 1.7)) /
                               (2 * h);
        INFO("log-ratio " << log_ratio << ", advantage " << advantage);
        CHECK(objective(log_ratio, advantage, 1.7).slope == Approx(numeric).epsilon(1e-8).margin(1e-8));
      }
    }
  }
}

TEST_CASE("the gradient stops beyond the trust region only where the advantage pushes outwards",
          "[objective]") {
  const double above = std::log(1.25), below = std::log(0.75);
  CHECK(symmetric(above, 1, 1).slope == 0);
  CHECK(symmetric(above, -1, 1).slope == Approx(1.25));
  CHECK(symmetric(below, -1, 1).slope == 0);
  CHECK(symmetric(below, 1, 1).slope == Approx(-0.75));
}

TEST_CASE("asymmetric bounds clip each side at its own distance", "[objective]") {
  CHECK(asymmetric(std::log(1.25), 1, 1).slope == Approx(-1.25));  // inside 1 + 0.3
  CHECK(asymmetric(std::log(1.35), 1, 1).slope == 0);
  CHECK(asymmetric(std::log(1.35), 1, 1).loss == Approx(-1.3));
  CHECK(asymmetric(std::log(0.85), -1, 1).slope == 0);  // outside 1 - 0.1
  CHECK(asymmetric(std::log(0.85), -1, 1).loss == Approx(0.9));
}

TEST_CASE("exactly on the edge of the clip range the gradient flows", "[objective]") {
  const double log_ratio = 0.2, ratio = std::exp(log_ratio);
  const clipped_grpo upper{.clip = {0.5, ratio - 1}};
  REQUIRE(1 + upper.clip.high == ratio);
  CHECK(upper(log_ratio, 2, 1).slope == -2 * ratio);
  CHECK_FALSE(upper(log_ratio, 2, 1).above);
  const double low_ratio = std::exp(-log_ratio);
  const clipped_grpo lower{.clip = {1 - low_ratio, 0.5}};
  REQUIRE(1 - lower.clip.low == low_ratio);
  CHECK(lower(-log_ratio, -2, 1).slope == 2 * low_ratio);
  CHECK_FALSE(lower(-log_ratio, -2, 1).below);
}

TEST_CASE("an advantage of zero has no loss and no gradient, inside and outside the trust region",
          "[objective]") {
  for (const double log_ratio : {-1.0, 0.0, 1.0}) {
    CHECK(symmetric(log_ratio, 0, 1).loss == 0);
    CHECK(symmetric(log_ratio, 0, 1).slope == 0);
  }
}

TEST_CASE("advantages are clamped to the advantage clip on both sides", "[objective]") {
  CHECK(symmetric(0, 6.2, 1).loss == -5);
  CHECK(symmetric(0, -6.2, 1).loss == 5);
  CHECK(symmetric(0, -6.2, 1).slope == 5);
  CHECK(clipped_grpo{.advantage_clip = 2}(0, 3, 1).loss == -2);
}

TEST_CASE("below and above tell on which side the ratio left the trust region, whatever the advantage",
          "[objective]") {
  for (const double advantage : {-1.0, 0.0, 1.0}) {
    CHECK(symmetric(std::log(1.21), advantage, 1).above);
    CHECK_FALSE(symmetric(std::log(1.21), advantage, 1).below);
    CHECK(symmetric(std::log(0.79), advantage, 1).below);
    CHECK_FALSE(symmetric(std::log(0.79), advantage, 1).above);
    CHECK_FALSE(symmetric(std::log(1.19), advantage, 1).above);
    CHECK_FALSE(symmetric(std::log(0.81), advantage, 1).below);
  }
}

TEST_CASE("on policy the slope is -w A", "[objective]") {
  CHECK(clipped_grpo{}(0, 1.5, 2).slope == -3);
  CHECK(clipped_grpo{}(0, -1.5, 2).slope == 3);
}

TEST_CASE("the defaults are the published ones", "[objective]") {
  CHECK(clipped_grpo{}.clip.low == 1e-4);
  CHECK(clipped_grpo{}.clip.high == 1e-4);
  CHECK(clipped_grpo{}.advantage_clip == 5);
  CHECK(clipped_grpo{}.kl_over == tempflow::kl_denominator::transition_variance);
}

TEST_CASE("bounds that make no sense are errors that name bound and value", "[objective]") {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto rejects = [](const clipped_grpo& objective, const char* name, const char* value) {
    CHECK_THROWS_MATCHES(objective.validate(), value_error,
                         MessageMatches(ContainsSubstring(name) && ContainsSubstring(value)));
  };
  rejects({.clip = {-0.25, 0.1}}, "clip.low", "-0.25");
  rejects({.clip = {0.1, std::nan("")}}, "clip.high", "nan");
  rejects({.advantage_clip = infinity}, "advantage_clip", "inf");
  rejects({.kl_beta = -1}, "kl_beta", "-1");
  CHECK_NOTHROW(clipped_grpo{}.validate());
}
