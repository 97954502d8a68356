// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Chains: which steps draw noise, and the ODE beside them.

#include "tempflow/schedule/chain.hpp"

#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/schedule/sigmas.hpp"

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

TEST_CASE("a grid that starts just below 1 has Flow-SDE's step from pure noise", "[chain]") {
  const std::vector<double> uni_pc{.9997, .96, .5, 0};
  const auto made = tempflow::make_chain(uni_pc, tempflow::flow_sde{.7}, std::vector<index_t>{0});
  // A knot of 1 in its place has alpha = 1 - .49 / 2 and std = .7.
  CHECK(made[0].alpha == Approx(.755).margin(.005));
  CHECK(made[0].std == Approx(.7).margin(.005));
  // Its second step is too long for this noise: 1 - .49 * .46 / .08.
  CHECK_THROWS_MATCHES(
      tempflow::make_chain(uni_pc, tempflow::flow_sde{.7}), schedule_error,
      MessageMatches(ContainsSubstring("step 1 from sigma = 0.96 to 0.5 has alpha = -1.81")));
  for (const double shift : {1.0, 3.0, 5.0, 12.0}) {
    for (const index_t steps : {4, 20, 50, 200, 400, 1000}) {
      INFO("shift " << shift << ", " << steps << " steps");
      CHECK_NOTHROW(tempflow::make_chain(tempflow::wan_sigmas(steps, shift), tempflow::flow_sde{.7}));
    }
  }
}

TEST_CASE("a step outside its stable range is an error that names step, alpha and std", "[chain]") {
  const auto rejects = [](const auto& make, const char* step, const char* alpha) {
    CHECK_THROWS_MATCHES(
        make(), schedule_error,
        MessageMatches(ContainsSubstring(step) && ContainsSubstring(alpha) && ContainsSubstring("std = ")));
  };
  // alpha = 1 - a^2 Dt / (2 (1 - sigma)) = 1 - 49 * .25 / .5 at the second step, 1 - 49 / 2 at the first.
  rejects([] { return tempflow::make_chain(grid, tempflow::flow_sde{7}); }, "step 0", "alpha = -23.5");
  rejects([] { return tempflow::make_chain(grid, tempflow::flow_sde{7}, std::vector<index_t>{1}); }, "step 1",
          "alpha = -23.5");
  // alpha = 1 - eta^2 Dt / (2 sigma) = 1 - 25 * .25 / 2.
  rejects([] { return tempflow::make_chain(grid, tempflow::dance_sde{5}); }, "step 0", "alpha = -2.125");
  // .95 is no pure noise: 1 - .49 * .35 / .1.
  rejects(
      [] {
        return tempflow::make_chain({.95, .6, 0}, tempflow::flow_sde{.7});
      },
      "from sigma = 0.95", "alpha = -0.71");
  // So is .9985, but a start at .999 would be, which the message says there alone.
  const auto hint = ContainsSubstring("start at 0.999 and up");
  const auto from = [](double first) { return tempflow::make_chain({first, .6, 0}, tempflow::flow_sde{.7}); };
  CHECK_THROWS_MATCHES(from(.9985), schedule_error, MessageMatches(hint));
  CHECK_THROWS_MATCHES(from(.95), schedule_error, MessageMatches(!hint));
  CHECK_NOTHROW(from(.999));
  const std::vector<tempflow::transition> turned{{.alpha = -0.5, .beta = -1, .std = 0.25}};
  rejects([&] { return tempflow::chain({1, 0.5}, turned); }, "step 0", "alpha = -0.5");
  const auto turning = [](const tempflow::sigma_step&) { return tempflow::transition{.alpha = -1}; };
  const auto made = tempflow::make_chain(grid, tempflow::flow_sde{0.7}, turning);
  CHECK_THROWS_MATCHES(made.ode_step(1), schedule_error, MessageMatches(ContainsSubstring("alpha = -1")));
}

TEST_CASE("a table of T x 7 doubles is a table of transitions, and makes the chain again", "[chain]") {
  const auto made = tempflow::make_chain(grid, tempflow::flow_sde{0.7});
  STATIC_REQUIRE(std::is_same_v<decltype(made.transitions()), std::span<const tempflow::transition>>);
  REQUIRE(made.transitions().size() == 4);
  std::vector<double> table(4 * 7);
  std::memcpy(table.data(), made.transitions().data(), table.size() * sizeof(double));
  for (std::size_t i = 0; i < 4; ++i) {
    const auto& step = made[static_cast<index_t>(i)];
    CHECK(&step == &made.transitions()[i]);
    CHECK(std::vector<double>(&table[7 * i], &table[7 * i] + 7) ==
          std::vector<double>{step.alpha, step.beta, step.std, step.sigma, step.sigma_next, step.dt,
                              step.diffusion});
  }
  std::vector<tempflow::transition> rows(4);
  std::memcpy(static_cast<void*>(rows.data()), table.data(), table.size() * sizeof(double));
  const tempflow::chain again(grid, rows, tempflow::ode{});
  for (index_t i = 0; i < 4; ++i) {
    INFO("step " << i);
    CHECK(again[i].alpha == made[i].alpha);
    CHECK(again[i].beta == made[i].beta);
    CHECK(again[i].std == made[i].std);
    CHECK(again.ode_step(i) == made.ode_step(i));
  }
}

TEST_CASE("dynamics of the user's own need one function", "[chain]") {
  const auto half = [](const tempflow::sigma_step& at) {
    return tempflow::transition{
        .alpha = 0.5, .beta = -1, .std = 0.25, .sigma = at.sigma, .sigma_next = at.sigma_next};
  };
  STATIC_REQUIRE(tempflow::dynamics<decltype(half)>);
  CHECK(tempflow::make_chain(grid, half)[2].std == 0.25);
  const auto mine = [](const tempflow::sigma_step& at) { return tempflow::langevin(at, 0.5 * at.sigma); };
  // At .75 to .5: g = .375, alpha = 1 - .25 g^2 / 1.5.
  CHECK(tempflow::make_chain(grid, mine)[1].alpha == Approx(1 - 0.25 * 0.375 * 0.375 / 1.5).epsilon(1e-14));
}
