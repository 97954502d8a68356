// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Sigma grids: the published numbers, the formulas behind them, the parts that they are made of, and grids that no
// sampler can follow.

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

TEST_CASE("FLUX.2's mu has diffusers' numbers, and is linear in the tokens beyond 4,300", "[sigmas]") {
  const auto mu = [](index_t tokens, index_t steps) {
    return Approx(tempflow::flux_2_mu(tokens, steps)).epsilon(0).margin(5e-5);
  };
  CHECK(2.2912 == mu(4096, 4));
  CHECK(2.2562 == mu(4096, 10));
  CHECK(2.1514 == mu(4096, 28));
  CHECK(2.0234 == mu(4096, 50));
  for (const index_t steps : {4, 10, 28, 50}) CHECK(2.0167 == mu(9216, steps));
  CHECK(tempflow::flux_2_mu(4300, 200) == Approx(0.00016927 * 4300 + 0.45666666).epsilon(1e-14));
  CHECK(tempflow::flux_2_mu(4301, 4) == Approx(0.00016927 * 4301 + 0.45666666).epsilon(1e-14));
  CHECK(tempflow::flux_2_sigmas(28, 4096) ==
        tempflow::flux_sigmas(
            28, 4096,
            {.first_shift = tempflow::flux_2_mu(4096, 28), .last_shift = tempflow::flux_2_mu(4096, 28)}));
  CHECK_THROWS_MATCHES(tempflow::flux_2_mu(0, 10), value_error,
                       MessageMatches(ContainsSubstring("flux_2_mu: image_tokens = 0")));
  CHECK_THROWS_MATCHES(tempflow::flux_2_mu(4096, 0), value_error,
                       MessageMatches(ContainsSubstring("flux_2_mu: steps = 0")));
}

TEST_CASE("LTX-Video's grid of ten steps has diffusers' numbers", "[sigmas]") {
  CHECK(distance(tempflow::ltx_sigmas(10, 4096),
                 {1, .9764, .9477, .9123, .8675, .8088, .7286, .6127, .4300, .1000, 0}) <= 5e-5);
  // 1,024 tokens: e^.95 / (e^.95 + 1/t - 1), the last of four points stretched from .4629 to .1.
  const double shifted = std::exp(.95) / (std::exp(.95) + 3), half = std::exp(.95) / (std::exp(.95) + 1);
  CHECK(tempflow::ltx_sigmas(4, 1024)[2] == Approx(1 - (1 - half) * .9 / (1 - shifted)).epsilon(1e-13));
}

TEST_CASE("Qwen-Image-Lightning's grid of eight steps is the static shift by 3, unstretched", "[sigmas]") {
  CHECK(distance(tempflow::qwen_image_lightning_sigmas(),
                 {1, .9545, .9000, .8333, .7500, .6429, .5000, .3000, 0}) <= 5e-5);
  for (index_t i = 0; i < 4; ++i) {  // 3 t / (1 + 2 t) at t = 1 - i / 4
    const double t = 1 - static_cast<double>(i) / 4;
    CHECK(tempflow::qwen_image_lightning_sigmas(4)[static_cast<std::size_t>(i)] ==
          Approx(3 * t / (1 + 2 * t)).epsilon(1e-14));
  }
}

TEST_CASE("Wan's grid is UniPC's: 999/1000 to 0 under the static shift", "[sigmas]") {
  // 3 t / (1 + 2 t): t = .999 gives 2.997 / 2.998, t = .999 * 19 / 20 = .94905 gives 2.84715 / 2.8981.
  const auto grid = tempflow::wan_sigmas(20);
  REQUIRE(grid.size() == 21);
  CHECK(grid[0] == Approx(2.997 / 2.998).epsilon(1e-15));
  CHECK(grid[1] == Approx(2.84715 / 2.8981).epsilon(1e-15));
  CHECK(grid[19] == Approx(3 * .04995 / 1.0999).epsilon(1e-14));
  CHECK(grid[20] == 0);
  CHECK(tempflow::wan_sigmas(50, 5)[0] == Approx(4.995 / 4.996).epsilon(1e-15));
  CHECK(tempflow::wan_sigmas(4, 1, 100) == tempflow::linear_points(0.99, 0, 5));
}

TEST_CASE("HunyuanVideo's grid is a linspace under the static shift by 7", "[sigmas]") {
  // 7 t / (1 + 6 t) at 3/4, 1/2, 1/4.
  CHECK(distance(tempflow::hunyuan_video_sigmas(4), {1, 5.25 / 5.5, 3.5 / 4, 1.75 / 2.5, 0}) < 1e-15);
}

TEST_CASE("a new model's grid is a line of composition", "[sigmas]") {
  using namespace tempflow;
  // SD3 shifted once.
  CHECK(distance(with_final_zero(static_shift(linear_points(1, 0.001, 10), 3)),
                 {1, .9600, .9131, .8573, .7898, .7063, .6007, .4627, .2745, .0030, 0}) <= 5e-5);
  CHECK(with_final_zero(exponential_shift(linear_points(1, 0.1, 10), 1.15)) ==
        flux_sigmas(10, 4096, {.first_shift = 1.15, .last_shift = 1.15}));
  // mu / (mu + 1/t - 1) at 1, 1/2 and mu = 3.
  CHECK(distance(with_final_zero(linear_shift(linear_points(1, 0.5, 2), 3)), {1, 0.75, 0}) < 1e-15);
  // 1 - .5 * .8 / .75.
  CHECK(distance(stretch_to_terminal({1, 0.5, 0.25}, 0.2), {1, 7.0 / 15, 0.2}) < 1e-15);
}

TEST_CASE("linear points are equally spaced and exact at both ends", "[sigmas]") {
  using tempflow::linear_points;
  CHECK(linear_points(1, 0, 5) == std::vector<double>{1, 0.75, 0.5, 0.25, 0});
  CHECK(linear_points(0.9, 0.3, 2) == std::vector<double>{0.9, 0.3});
  CHECK(linear_points(0.9, 0.3, 1) == std::vector<double>{0.9});
  for (const index_t count : {3, 7, 49, 1000}) {
    CHECK(linear_points(1, 1.0 / 3, count).back() == 1.0 / 3);
    CHECK(static_cast<index_t>(linear_points(1, 1.0 / 3, count).size()) == count);
  }
}

TEST_CASE("the three shifts are one family, and keep 0 and 1", "[sigmas]") {
  for (const double mu : {0.3, 1.15, 2.05}) {
    for (const double t : {0.001, 0.3, 0.97}) {
      const double shifted = tempflow::exponential_shift(t, mu);
      CHECK(shifted == Approx(std::exp(mu) / (std::exp(mu) + (1 / t - 1))).epsilon(1e-15));
      CHECK(tempflow::static_shift(t, std::exp(mu)) == Approx(shifted).epsilon(1e-14));
      CHECK(tempflow::linear_shift(t, std::exp(mu)) == Approx(shifted).epsilon(1e-14));
    }
    CHECK(tempflow::exponential_shift(0, mu) == 0);
    CHECK(tempflow::exponential_shift(1, mu) == 1);
    CHECK(tempflow::linear_shift(0, mu) == 0);
    CHECK(tempflow::linear_shift(1, mu) == 1);
  }
}

TEST_CASE("parts of a grid refuse numbers that give none, and name them", "[sigmas]") {
  const double nan = std::nan("");
  const auto refuses = [](const auto& call, const char* text) {
    CHECK_THROWS_MATCHES(call(), value_error, MessageMatches(ContainsSubstring(text)));
  };
  using namespace tempflow;
  for (const double terminal : {-0.1, 0.0, 1.0, 1.5, nan}) {
    INFO("terminal " << terminal);
    CHECK_THROWS_AS(stretch_to_terminal({1, 0.5}, terminal), value_error);
    CHECK_THROWS_AS(qwen_image_sigmas(10, 1024, terminal), value_error);
    CHECK_THROWS_AS(ltx_sigmas(10, 4096, terminal), value_error);
  }
  refuses([&] { return qwen_image_sigmas(10, 1024, 1.5); }, "stretch_to_terminal: terminal = 1.5");
  refuses([&] { return stretch_to_terminal({}, 0.1); }, "stretch_to_terminal: points = 0");
  refuses([&] { return stretch_to_terminal({1.5, 0.5}, 0.1); }, "stretch_to_terminal: point = 1.5");
  refuses(
      [&] {
        return stretch_to_terminal({1, 0.2, 0.5}, 0.1);
      },
      "stretch_to_terminal: point 0.2 lies below the last, 0.5");
  refuses([&] { return linear_points(1, 0, 0); }, "linear_points: count = 0");
  refuses([&] { return linear_points(1.5, 0, 4); }, "linear_points: first = 1.5");
  refuses([&] { return linear_points(1, nan, 4); }, "linear_points: last = nan");
  refuses([&] { return static_shift(0.5, 0); }, "static_shift: shift = 0");
  refuses([&] { return static_shift(1.25, 3); }, "static_shift: t = 1.25");
  refuses([&] { return static_shift(std::vector<double>{1, nan}, 3); }, "static_shift: t = nan");
  refuses([&] { return exponential_shift(0.5, nan); }, "exponential_shift: mu = nan");
  refuses([&] { return exponential_shift(0.5, 1000); }, "exponential_shift: mu = 1000");
  refuses([&] { return exponential_shift(-0.5, 1); }, "exponential_shift: t = -0.5");
  refuses([&] { return linear_shift(0.5, -1); }, "linear_shift: mu = -1");
  refuses([&] { return linear_shift(2, 1); }, "linear_shift: t = 2");
  refuses([&] { return dynamic_shift{}(0); }, "dynamic_shift: image_tokens = 0");
  refuses([&] { return dynamic_shift{.last_tokens = 256}(1024); },
          "dynamic_shift: no line through (256, 0.5)");
  refuses([&] { return dynamic_shift{.last_shift = nan}(1024); }, "(4096, nan)");
  refuses([&] { return flux_sigmas(10, -4); }, "image_tokens = -4");
  refuses([&] { return sd3_sigmas(10, 3, 1); }, "sd3_sigmas: training_timesteps = 1");
  refuses([&] { return flux_2_sigmas(0); }, "flux_2_sigmas: steps = 0");
  refuses([&] { return ltx_sigmas(0); }, "ltx_sigmas: steps = 0");
  refuses([&] { return qwen_image_lightning_sigmas(-1); }, "qwen_image_lightning_sigmas: steps = -1");
  refuses([&] { return wan_sigmas(0); }, "wan_sigmas: steps = 0");
  refuses([&] { return wan_sigmas(10, nan); }, "wan_sigmas: shift = nan");
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
    for (const auto& grid :
         {tempflow::sd3_sigmas(steps), tempflow::flux_sigmas(steps, 1024), tempflow::qwen_image_sigmas(steps),
          tempflow::shifted_linspace_sigmas(steps), tempflow::flux_2_sigmas(steps),
          tempflow::ltx_sigmas(steps), tempflow::qwen_image_lightning_sigmas(steps),
          tempflow::hunyuan_video_sigmas(steps)}) {
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
