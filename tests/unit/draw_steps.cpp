// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Steps drawn without replacement, with probabilities proportional to weights.

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/schedule/window.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::draw_steps;
using tempflow::index_t;
using tempflow::value_error;
using steps = std::vector<index_t>;

TEST_CASE("two drawn steps are drawn one after the other from what is left", "[draw_steps]") {
  // P({i, j}) = p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j) with p = 1/7, 2/7, 4/7.
  const std::vector<double> weights{1, 2, 4};
  std::map<steps, int> counts;
  const int draws = 8000;
  for (unsigned update = 0; update < draws; ++update)
    ++counts[draw_steps(weights, 2, {.seed = 4, .update = update})];
  for (index_t i = 0; i < 3; ++i) {
    for (index_t j = i + 1; j < 3; ++j) {
      const double a = weights[static_cast<std::size_t>(i)] / 7, b = weights[static_cast<std::size_t>(j)] / 7;
      const double share = a * b / (1 - a) + b * a / (1 - b);
      INFO("steps " << i << " and " << j);
      CHECK(std::abs(counts[{i, j}] - draws * share) < 4 * std::sqrt(draws * share * (1 - share)));
    }
  }
}

TEST_CASE("drawn steps ascend, are distinct, and depend on the key alone", "[draw_steps]") {
  const std::vector<double> weights(10, 1.0);
  const auto drawn = draw_steps(weights, 6, {.seed = 1, .update = 2});
  CHECK_NOTHROW(tempflow::check_step_list(drawn, 10));
  CHECK(drawn.size() == 6);
  CHECK(draw_steps(weights, 6, {.seed = 1, .update = 2}) == drawn);
  CHECK(draw_steps(weights, 10, {.seed = 8}) == tempflow::step_range(0, 10));
  CHECK(draw_steps(weights, 6, {.seed = 2, .update = 1}) != drawn);
}

TEST_CASE("weights that cannot be drawn from are errors that name them", "[draw_steps]") {
  const std::vector<double> weights{1, 0, 2};
  CHECK_THROWS_MATCHES(draw_steps(weights, 3, {}), value_error,
                       MessageMatches(ContainsSubstring("count = 3") && ContainsSubstring("2 steps")));
  CHECK_THROWS_MATCHES(draw_steps(weights, 0, {}), value_error,
                       MessageMatches(ContainsSubstring("count = 0")));
  CHECK_THROWS_MATCHES(draw_steps(std::vector<double>{1, -0.5}, 1, {}), value_error,
                       MessageMatches(ContainsSubstring("weights[1] = -0.5")));
  CHECK_THROWS_MATCHES(draw_steps(std::vector<double>{std::numeric_limits<double>::infinity()}, 1, {}),
                       value_error, MessageMatches(ContainsSubstring("weights[0] = inf")));
}
