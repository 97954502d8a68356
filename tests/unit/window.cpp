// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Which steps are stochastic or trained: ranges, lists, sliding and random windows.

#include "tempflow/schedule/window.hpp"

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "support/catch.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::index_t;
using tempflow::schedule_error;
using steps = std::vector<index_t>;

TEST_CASE("a step range counts up from its first step", "[window]") {
  CHECK(tempflow::step_range(3, 4) == steps{3, 4, 5, 6});
  CHECK(tempflow::step_range(3, 0).empty());
}

TEST_CASE("step lists must ascend within the chain, and errors name the entry", "[window]") {
  CHECK_NOTHROW(tempflow::check_step_list(steps{0, 4, 9}, 10));
  CHECK_NOTHROW(tempflow::check_step_list(steps{}, 10));
  const auto rejects = [](const steps& list, const char* text) {
    CHECK_THROWS_MATCHES(tempflow::check_step_list(list, 10), schedule_error,
                         MessageMatches(ContainsSubstring(text) && ContainsSubstring("[0, 10)")));
  };
  rejects({0, 10}, "steps[1] = 10");
  rejects({-1, 3}, "steps[0] = -1");
  rejects({0, 4, 4}, "steps[2] = 4");
  rejects({5, 2}, "steps[1] = 2");
}

TEST_CASE("MixGRPO's window slides by its stride every so many updates and starts over at the end",
          "[window]") {
  const tempflow::sliding_window window{.size = 4, .stride = 1, .updates_per_window = 25};
  CHECK(window.at(0, 10) == steps{0, 1, 2, 3});
  CHECK(window.at(24, 10) == steps{0, 1, 2, 3});
  CHECK(window.at(25, 10) == steps{1, 2, 3, 4});
  CHECK(window.at(6 * 25, 10) == steps{6, 7, 8, 9});
  CHECK(window.at(7 * 25, 10) == steps{0, 1, 2, 3});
}

TEST_CASE("a sliding window with a larger stride never leaves the chain", "[window]") {
  const tempflow::sliding_window window{.size = 3, .stride = 2, .updates_per_window = 1};
  std::set<steps> seen;
  for (index_t update = 0; update < 20; ++update) {
    const auto at = window.at(update, 8);
    CHECK(at.size() == 3);
    CHECK(at.front() % 2 == 0);
    CHECK(at.back() < 8);
    seen.insert(at);
  }
  CHECK(seen == std::set<steps>{{0, 1, 2}, {2, 3, 4}, {4, 5, 6}});
}

TEST_CASE("a sliding window as long as the chain stays where it is", "[window]") {
  CHECK(tempflow::sliding_window{.size = 5}.at(1000, 5) == steps{0, 1, 2, 3, 4});
}

TEST_CASE("sliding windows that do not fit are errors that name the numbers", "[window]") {
  using tempflow::sliding_window;
  CHECK_THROWS_MATCHES(sliding_window{.size = 5}.at(0, 4), schedule_error,
                       MessageMatches(ContainsSubstring("size 5") && ContainsSubstring("4 steps")));
  CHECK_THROWS_AS(sliding_window{.size = 0}.at(0, 4), schedule_error);
  CHECK_THROWS_AS((sliding_window{.size = 2, .stride = 0}.at(0, 4)), schedule_error);
  CHECK_THROWS_AS((sliding_window{.size = 2, .updates_per_window = 0}.at(0, 4)), schedule_error);
  CHECK_THROWS_MATCHES(sliding_window{.size = 2}.at(-1, 4), schedule_error,
                       MessageMatches(ContainsSubstring("-1")));
}

TEST_CASE("a random window lies anywhere in its range, equally often", "[window]") {
  const tempflow::random_window window{.size = 2, .first = 1, .last = 7};
  std::map<index_t, int> starts;
  for (unsigned update = 0; update < 5000; ++update) {
    const auto at = window.at({.seed = 3, .update = update}, 10);
    REQUIRE(at.size() == 2);
    REQUIRE(at[1] == at[0] + 1);
    ++starts[at[0]];
  }
  CHECK(starts.size() == 5);
  CHECK(starts.begin()->first == 1);
  CHECK(starts.rbegin()->first == 5);
  for (const auto& [start, count] : starts) {  // binomial(5000, 1/5): mean 1000, deviation 28.3
    INFO("start " << start);
    CHECK(std::abs(count - 1000) < 4 * 28.3);
  }
}

TEST_CASE("a random window is drawn from its key alone", "[window]") {
  const tempflow::random_window window{.size = 2, .first = 0, .last = 100};
  CHECK(window.at({.seed = 1, .update = 2}, 200) == window.at({.seed = 1, .update = 2}, 200));
  CHECK(window.at({.seed = 1, .update = 2}, 200) != window.at({.seed = 2, .update = 1}, 200));
}

TEST_CASE("random windows that do not fit are errors that name the numbers", "[window]") {
  using tempflow::random_window;
  CHECK_THROWS_MATCHES((random_window{.size = 3, .first = 0, .last = 11}.at({}, 10)), schedule_error,
                       MessageMatches(ContainsSubstring("size 3") && ContainsSubstring("[0, 11)")));
  CHECK_THROWS_AS((random_window{.size = 1, .first = 5, .last = 4}.at({}, 10)), schedule_error);
  CHECK_THROWS_AS((random_window{.size = 1, .first = -1, .last = 4}.at({}, 10)), schedule_error);
  CHECK_THROWS_AS((random_window{.size = 0}.at({}, 10)), schedule_error);
}

TEST_CASE("drawn steps are different, ascend, and follow their weights", "[window]") {
  const std::vector<double> weights{1, 0, 3, 2, 0};
  std::map<index_t, int> drawn;
  for (unsigned update = 0; update < 6000; ++update) {
    const auto at = tempflow::draw_steps(weights, 1, {.seed = 9, .update = update});
    REQUIRE(at.size() == 1);
    ++drawn[at[0]];
  }
  for (const auto& [step, expected] : std::map<index_t, int>{{0, 1000}, {2, 3000}, {3, 2000}}) {
    INFO("step " << step);  // binomial: the largest deviation, at 1/2, is 38.7
    CHECK(std::abs(drawn[step] - expected) < 4 * 38.7);
  }
  CHECK(drawn.size() == 3);
  CHECK(tempflow::draw_steps(weights, 3, {}) == steps{0, 2, 3});
  CHECK_THROWS_MATCHES(tempflow::draw_steps(weights, 4, {}), tempflow::value_error,
                       MessageMatches(ContainsSubstring("4 of 3")));
  CHECK_THROWS_AS(tempflow::draw_steps(std::vector<double>{1, -1}, 1, {}), tempflow::value_error);
}
