// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Chains: which steps draw noise, and the ODE beside them.

#include "tempflow/schedule/chain.hpp"

#include <vector>

#include "support/catch.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::index_t;
using tempflow::schedule_error;

namespace {

const std::vector<double> grid{1, 0.75, 0.5, 0.25, 0};

}  // namespace

TEST_CASE("a chain follows its dynamics at every step", "[chain]") {
  const auto made = tempflow::make_chain(grid, tempflow::flow_sde{0.7});
  REQUIRE(made.steps() == 4);
  CHECK(std::vector<double>(made.sigmas().begin(), made.sigmas().end()) == grid);
  for (index_t i = 0; i < 4; ++i) {
    const auto at = static_cast<std::size_t>(i);
    CHECK(made[i] == tempflow::flow_sde{0.7}({grid[at], grid[at + 1]}));
  }
  CHECK(made.stochastic_steps() == std::vector<index_t>{0, 1, 2, 3});
}

TEST_CASE("a chain with chosen steps follows its dynamics there and the ODE elsewhere", "[chain]") {
  const std::vector<index_t> chosen{1, 2};
  const auto made = tempflow::make_chain(grid, tempflow::flow_sde{0.7}, chosen);
  CHECK(made.stochastic_steps() == chosen);
  CHECK(made[0] == tempflow::ode{}({1, 0.75}));
  CHECK(made[1] == tempflow::flow_sde{0.7}({0.75, 0.5}));
  CHECK(made[3] == tempflow::ode{}({0.25, 0}));
  CHECK(
      tempflow::make_chain(grid, tempflow::flow_sde{0.7}, std::vector<index_t>{}).stochastic_steps().empty());
}

TEST_CASE("a chain's last step is deterministic where its dynamics is", "[chain]") {
  CHECK(tempflow::make_chain(grid, tempflow::flow_cps{0.7}).stochastic_steps() ==
        std::vector<index_t>{0, 1, 2});
}

TEST_CASE("a chain's ODE steps reach the next knot or any later one", "[chain]") {
  const auto made = tempflow::make_chain(grid, tempflow::flow_sde{0.7});
  CHECK(made.ode_step(1).alpha == 1);
  CHECK(made.ode_step(1).beta == -0.25);
  CHECK(made.ode_step(1).std == 0);
  CHECK(made.ode_step(1, 4).beta == -0.75);
  CHECK(made.ode_step(1, 4).sigma == 0.75);
  CHECK(made.ode_step(1, 4).sigma_next == 0);
}

TEST_CASE("a step outside the chain is an error that names it", "[chain]") {
  const auto made = tempflow::make_chain(grid, tempflow::ode{});
  CHECK_THROWS_MATCHES(made[4], schedule_error, MessageMatches(ContainsSubstring("step 4 of 4")));
  CHECK_THROWS_AS(made[-1], schedule_error);
  CHECK_THROWS_AS(made.ode_step(4), schedule_error);
  CHECK_THROWS_AS(made.ode_step(0, 5), schedule_error);
}

TEST_CASE("an ODE step that does not descend is an error that names both knots", "[chain]") {
  const auto made = tempflow::make_chain(grid, tempflow::ode{});
  CHECK_THROWS_MATCHES(made.ode_step(2, 2), schedule_error, MessageMatches(ContainsSubstring("2")));
  CHECK_THROWS_MATCHES(made.ode_step(3, 1), schedule_error,
                       MessageMatches(ContainsSubstring("3") && ContainsSubstring("1")));
}

TEST_CASE("a chain over a grid that does not descend is an error", "[chain]") {
  CHECK_THROWS_MATCHES(tempflow::make_chain({1, 0.5, 0.75, 0}, tempflow::ode{}), schedule_error,
                       MessageMatches(ContainsSubstring("sigmas[2] = 0.75")));
  CHECK_THROWS_AS(tempflow::make_chain({}, tempflow::ode{}), schedule_error);
  CHECK_THROWS_AS(tempflow::make_chain({1}, tempflow::ode{}), schedule_error);
  CHECK_THROWS_MATCHES(tempflow::make_chain(grid, tempflow::flow_sde{0.7}, std::vector<index_t>{1, 4}),
                       schedule_error, MessageMatches(ContainsSubstring("steps[1] = 4")));
}

TEST_CASE("a chain's trainable steps are the stochastic ones but its last", "[chain]") {
  CHECK(tempflow::make_chain(grid, tempflow::flow_sde{0.7}).trainable_steps() ==
        std::vector<index_t>{0, 1, 2});
  CHECK(tempflow::make_chain(grid, tempflow::flow_cps{0.7}).trainable_steps() ==
        std::vector<index_t>{0, 1, 2});
  const std::vector<index_t> chosen{1, 3};
  CHECK(tempflow::make_chain(grid, tempflow::flow_sde{0.7}, chosen).trainable_steps() ==
        std::vector<index_t>{1});
  CHECK(tempflow::make_chain(grid, tempflow::ode{}).trainable_steps().empty());
}

TEST_CASE("transitions that do not fit the grid are an error that names both counts", "[chain]") {
  CHECK_THROWS_MATCHES(tempflow::chain(grid, std::vector<tempflow::transition>(3)), schedule_error,
                       MessageMatches(ContainsSubstring("3 transitions over 5 sigmas")));
}

TEST_CASE("dynamics of the user's own need one function", "[chain]") {
  const auto half = [](const tempflow::sigma_step& at) {
    return tempflow::transition{
        .alpha = 0.5, .beta = -1, .std = 0.25, .sigma = at.sigma, .sigma_next = at.sigma_next};
  };
  STATIC_REQUIRE(tempflow::dynamics<decltype(half)>);
  CHECK(tempflow::make_chain(grid, half)[2].std == 0.25);
}
