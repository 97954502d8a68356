// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Sigma grids: the published numbers, the formulas behind them, and grids that no sampler can follow.

#include "tempflow/schedule/sigmas.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::index_t;
using tempflow::schedule_error;
using tempflow::value_error;

namespace {

// Largest distance from numbers that were published to four decimals.
double distance(std::span<const double> grid, std::vector<double> published) {
  REQUIRE(grid.size() == published.size());
  double largest = 0;
  for (std::size_t i = 0; i < grid.size(); ++i) largest = std::max(largest, std::abs(grid[i] - published[i]));
  return largest;
}

bool descends_from_1_to_0(std::span<const double> grid) {
  for (std::size_t i = 1; i < grid.size(); ++i) {
    if (!(grid[i] < grid[i - 1])) return false;
  }
  return grid.front() == 1 && grid.back() == 0;
}

}  // namespace

TEST_CASE("Stable Diffusion 3's grid of ten steps has diffusers' numbers", "[sigmas]") {
  CHECK(distance(tempflow::sd3_sigmas(10),
                 {1, .9601, .9133, .8577, .7904, .7073, .6022, .4649, .2780, .0089, 0}) <= 5e-5);
}

TEST_CASE("FLUX's grid of ten steps at 1,024 pixels has diffusers' numbers", "[sigmas]") {
  CHECK(distance(tempflow::flux_sigmas(10, 4096),
                 {1, .9660, .9266, .8805, .8257, .7595, .6780, .5751, .4412, .2598, 0}) <= 5e-5);
}

TEST_CASE("SD3's smallest sigma is shifted twice", "[sigmas]") {
  // f(t) = 3 t / (1 + 2 t): f(1/1000) = 3/1002, f(3/1002) = 9/1008.
  const auto grid = tempflow::sd3_sigmas(10);
  CHECK(grid[9] == Approx(9.0 / 1008).epsilon(1e-15));
  // Another shift k: f(1/N) = k / (N + k - 1), f of that = k^2 / (N + k^2 - 1).
  CHECK(tempflow::sd3_sigmas(5, 7, 500)[4] == Approx(49.0 / 548).epsilon(1e-15));
}

TEST_CASE("FLUX's shift is linear in the token count through (256, 0.5) and (4096, 1.15)", "[sigmas]") {
  const tempflow::dynamic_shift shift;
  CHECK(shift(256) == 0.5);
  CHECK(shift(4096) == Approx(1.15).epsilon(1e-15));
  CHECK(shift(1024) == Approx(0.63).epsilon(1e-14));
  CHECK(shift(1600) == Approx(0.7275).epsilon(1e-14));
  CHECK(shift((256 + 4096) / 2) == Approx(0.825).epsilon(1e-14));
}

TEST_CASE("Qwen-Image's grid is FLUX's with its own shift, stretched to end at 0.02", "[sigmas]") {
  const double mu = 0.5 + (0.9 - 0.5) / (8192 - 256) * (1024 - 256);
  CHECK(mu == Approx(0.5387).margin(5e-5));
  const auto grid = tempflow::qwen_image_sigmas(10, 1024);
  const auto shifted = [mu](double t) { return std::exp(mu) / (std::exp(mu) + 1 / t - 1); };
  REQUIRE(grid.size() == 11);
  for (std::size_t i = 0; i < 10; ++i) {
    const double t = 1 - 0.1 * static_cast<double>(i);
    INFO("knot " << i);
    CHECK(grid[i] == Approx(1 - (1 - shifted(t)) * 0.98 / (1 - shifted(0.1))).epsilon(1e-13));
  }
  CHECK(grid[0] == 1);
  CHECK(grid[9] == Approx(0.02).epsilon(1e-14));
  CHECK(grid[10] == 0);
}

TEST_CASE("a shifted linspace has T + 1 shifted points from 1 to 0", "[sigmas]") {
  const auto grid = tempflow::shifted_linspace_sigmas(4, 3);
  // 3 t / (1 + 2 t) at 3/4, 1/2, 1/4.
  CHECK(distance(grid, {1, 0.9, 0.75, 0.5, 0}) < 1e-15);
  CHECK(distance(tempflow::shifted_linspace_sigmas(4, 1), {1, 0.75, 0.5, 0.25, 0}) < 1e-15);
}

TEST_CASE("every grid descends from 1 to 0 at every length", "[sigmas]") {
  for (const index_t steps : {1, 2, 3, 10, 28, 50, 999}) {
    INFO(steps << " steps");
    for (const auto& grid : {tempflow::sd3_sigmas(steps), tempflow::flux_sigmas(steps, 1024),
                             tempflow::qwen_image_sigmas(steps), tempflow::shifted_linspace_sigmas(steps)}) {
      CHECK(static_cast<index_t>(grid.size()) == steps + 1);
      CHECK(descends_from_1_to_0(grid));
      CHECK_NOTHROW(tempflow::check_sigmas(grid));
    }
  }
}

TEST_CASE("a grid of no steps is an error that names the grid and the number", "[sigmas]") {
  CHECK_THROWS_MATCHES(tempflow::sd3_sigmas(0), value_error,
                       MessageMatches(ContainsSubstring("sd3_sigmas") && ContainsSubstring("0")));
  CHECK_THROWS_MATCHES(tempflow::flux_sigmas(-3), value_error,
                       MessageMatches(ContainsSubstring("flux_sigmas") && ContainsSubstring("-3")));
  CHECK_THROWS_MATCHES(tempflow::qwen_image_sigmas(0), value_error,
                       MessageMatches(ContainsSubstring("qwen_image_sigmas")));
  CHECK_THROWS_MATCHES(tempflow::shifted_linspace_sigmas(0), value_error,
                       MessageMatches(ContainsSubstring("shifted_linspace_sigmas")));
}

TEST_CASE("a shift that is not positive is an error that names the grid and the value", "[sigmas]") {
  CHECK_THROWS_MATCHES(tempflow::sd3_sigmas(10, 0), value_error,
                       MessageMatches(ContainsSubstring("sd3_sigmas") && ContainsSubstring("shift = 0")));
  CHECK_THROWS_MATCHES(
      tempflow::shifted_linspace_sigmas(10, -3), value_error,
      MessageMatches(ContainsSubstring("shifted_linspace_sigmas") && ContainsSubstring("shift = -3")));
  CHECK_THROWS_AS(tempflow::sd3_sigmas(10, std::nan("")), value_error);
}

TEST_CASE("the static shift maps 0 to 0 and 1 to 1 exactly, whatever its strength", "[sigmas]") {
  for (const double k : {0.1, 0.7, 1.0, 3.0, 7.0, 13.37}) {
    CHECK(tempflow::static_shift(0, k) == 0);
    CHECK(tempflow::static_shift(1, k) == 1);
    CHECK(tempflow::static_shift(0.25, k) == Approx(k * 0.25 / (1 + (k - 1) * 0.25)).epsilon(1e-15));
  }
}

TEST_CASE("sigmas that no sampler can follow are errors that name the knot", "[sigmas]") {
  const auto rejects = [](std::vector<double> grid, const char* text) {
    CHECK_THROWS_MATCHES(tempflow::check_sigmas(grid), schedule_error,
                         MessageMatches(ContainsSubstring(text)));
  };
  rejects({}, "0 knots");
  rejects({1}, "1 knots");
  rejects({1, 0.5, 0.5, 0}, "sigmas[2] = 0.5 does not descend from sigmas[1] = 0.5");
  rejects({1, 0.5, 0.75, 0}, "sigmas[2] = 0.75");
  rejects({1.5, 0.5, 0}, "sigmas[0] = 1.5");
  rejects({1, 0.5, -0.25}, "sigmas[2] = -0.25");
  rejects({1, std::nan(""), 0}, "sigmas[1] = nan");
  rejects({std::numeric_limits<double>::infinity(), 0.5}, "sigmas[0] = inf");
}

TEST_CASE("a grid of the user's own may start below 1 and end above 0", "[sigmas]") {
  CHECK_NOTHROW(tempflow::check_sigmas(std::vector<double>{0.9, 0.4, 0.1}));
}
