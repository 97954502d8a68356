// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Sigma grids of the published implementations: all that were recorded.

#include <cmath>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/golden.hpp"
#include "tempflow/schedule/sigmas.hpp"

using tempflow::index_t;

namespace {

// The references compute in fp32 or round to it at the end: f(t) = k t / (1 + (k - 1) t), e^mu / (e^mu + 1/t
// - 1) and a linspace before them are at most 8 roundings of relative size 2^-24, none of them amplified (t
// f' / f <= 1).
constexpr double tolerance = 8 * 0x1p-24;

std::vector<double> grid_of(const nlohmann::json& recorded) {
  const auto kind = recorded.at("kind").get<std::string>();
  const auto steps = recorded.at("steps").get<index_t>();
  if (kind == "sd3_static_shift") {
    return tempflow::sd3_sigmas(steps, recorded.at("shift").get<double>(),
                                recorded.at("num_train_timesteps").get<index_t>());
  }
  if (kind == "flux_dynamic_shift") {
    return tempflow::flux_sigmas(steps, recorded.at("seq_len").get<index_t>(),
                                 {.first_tokens = recorded.at("base_seq_len").get<double>(),
                                  .last_tokens = recorded.at("max_seq_len").get<double>(),
                                  .first_shift = recorded.at("base_shift").get<double>(),
                                  .last_shift = recorded.at("max_shift").get<double>()});
  }
  REQUIRE(kind == "linspace_shift");
  return tempflow::shifted_linspace_sigmas(steps, recorded.at("shift").get<double>());
}

}  // namespace

TEST_CASE("sigma grids are those of the published implementations", "[golden]") {
  const auto& cases = support::golden("schedules");
  REQUIRE(cases.size() == 19);
  for (const auto& recorded : cases) {
    const auto expected = support::numbers_of(recorded.at("sigmas"));
    const auto grid = grid_of(recorded);
    REQUIRE(grid.size() == expected.size());
    for (std::size_t i = 0; i < grid.size(); ++i) {
      INFO(recorded.at("kind") << ", " << recorded.at("steps") << " steps, knot " << i);
      CHECK(std::abs(grid[i] - expected[i]) <= tolerance * expected[i]);
    }
  }
}

TEST_CASE("timesteps of the published implementations are 1,000 sigma", "[golden]") {
  int compared = 0;
  for (const auto& recorded : support::golden("schedules")) {
    if (!recorded.contains("timesteps")) continue;
    const auto expected = support::numbers_of(recorded.at("timesteps"));
    const auto grid = grid_of(recorded);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK(std::abs(1000 * grid[i] - expected[i]) <= tolerance * expected[i]);
      ++compared;
    }
  }
  CHECK(compared > 0);
}

TEST_CASE("FLUX's shift is that of the published implementation", "[golden]") {
  for (const auto& recorded : support::golden("schedules")) {
    if (recorded.at("kind") != "flux_dynamic_shift") continue;
    const auto mu = tempflow::dynamic_shift{}(recorded.at("seq_len").get<index_t>());
    CHECK(mu == Approx(recorded.at("mu").get<double>()).epsilon(1e-14));
  }
}
