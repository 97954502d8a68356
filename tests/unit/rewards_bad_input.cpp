// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Rewards and groups that an estimator cannot use: errors that name the sample, and nothing written.

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/advantage/weighted_reward.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::group_advantages;
using tempflow::group_error;
using tempflow::shape_error;
using tempflow::value_error;
using tempflow::weighted_sum;

using rewards = std::vector<double>;
using ids = std::vector<std::int64_t>;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("a reward that is not finite is an error that names sample, value and group",
          "[advantage][bad_input]") {
  CHECK_THROWS_MATCHES(
      group_advantages(rewards{1, 2, std::nan("")}, ids{7, 7, 42}), value_error,
      MessageMatches(ContainsSubstring("rewards[2] = nan") && ContainsSubstring("group 42")));
  CHECK_THROWS_MATCHES(
      group_advantages(rewards{1, -infinity}, ids{7, 7}), value_error,
      MessageMatches(ContainsSubstring("rewards[1] = -inf") && ContainsSubstring("group 7")));
}

TEST_CASE("no samples are an error", "[advantage][bad_input]") {
  CHECK_THROWS_MATCHES(group_advantages(rewards{}, ids{}), group_error,
                       MessageMatches(ContainsSubstring("no samples")));
}

TEST_CASE("rewards whose spread overflows are an error", "[advantage][bad_input]") {
  CHECK_THROWS_MATCHES(group_advantages(rewards{1e300, -1e300}, ids{0, 0}), value_error,
                       MessageMatches(ContainsSubstring("too far apart")));
}

TEST_CASE("group ids that do not match the rewards are an error that names both sizes",
          "[advantage][bad_input]") {
  CHECK_THROWS_MATCHES(
      group_advantages(rewards{1, 2, 3}, ids{0, 0}), shape_error,
      MessageMatches(ContainsSubstring("groups has 2") && ContainsSubstring("rewards has 3")));
}

TEST_CASE("an epsilon that is negative or not finite is an error that names it", "[advantage][bad_input]") {
  CHECK_THROWS_MATCHES(group_advantages(rewards{1, 2}, ids{0, 0}, {.epsilon = -0.5}), value_error,
                       MessageMatches(ContainsSubstring("epsilon = -0.5")));
  CHECK_THROWS_MATCHES(group_advantages(rewards{1, 2}, ids{0, 0}, {.epsilon = infinity}), value_error,
                       MessageMatches(ContainsSubstring("epsilon = inf")));
}

TEST_CASE("a group of another size than expected is an error that names it", "[advantage][bad_input]") {
  const rewards r{1, 2, 3, 4, 5};
  CHECK_THROWS_MATCHES(
      group_advantages(r, ids{7, 42, 7, 42, 7}, {.group_size = 3}), group_error,
      MessageMatches(ContainsSubstring("group 42 has 2 samples") && ContainsSubstring("expected 3")));
  CHECK_THROWS_MATCHES(
      group_advantages(r, ids{7, 7, 7, 42, -1}, {.group_size = 3}), group_error,
      MessageMatches(ContainsSubstring("group -1 has 1 sample,") && ContainsSubstring("group_size")));
  CHECK_THROWS_MATCHES(group_advantages(r, ids(5), {.group_size = -2}), value_error,
                       MessageMatches(ContainsSubstring("group_size = -2")));
  std::vector<double> written{1, 2, 3, 4, 5};
  std::vector<tempflow::index_t> scratch(5);
  CHECK_THROWS_AS(group_advantages(r, ids{7, 7, 7, 42, 42}, {.group_size = 3}, written, scratch),
                  group_error);
  CHECK(written == r);
}

TEST_CASE("a group of one has no others for a baseline: an error that names it", "[advantage][bad_input]") {
  std::vector<double> written{123, 456, 789};
  std::vector<tempflow::index_t> scratch(3);
  CHECK_THROWS_MATCHES(
      group_advantages(rewards{1, 2, 3}, ids{7, 42, 7},
                       {.baseline = tempflow::advantage_baseline::others_mean}, written, scratch),
      group_error,
      MessageMatches(ContainsSubstring("group 42 has 1 sample") && ContainsSubstring("others_mean")));
  CHECK(written == std::vector<double>{123, 456, 789});
}

TEST_CASE("a least std that is negative or not finite is an error that names it", "[advantage][bad_input]") {
  CHECK_THROWS_MATCHES(group_advantages(rewards{1, 2}, ids{0, 0}, {.min_std = -1}), value_error,
                       MessageMatches(ContainsSubstring("min_std = -1")));
  CHECK_THROWS_MATCHES(group_advantages(rewards{1, 2}, ids{0, 0}, {.min_std = infinity}), value_error,
                       MessageMatches(ContainsSubstring("min_std = inf")));
}

TEST_CASE("a failed call leaves the caller's advantages as they were", "[advantage][bad_input]") {
  const rewards bad{1, std::nan("")};
  const ids groups{0, 0};
  std::vector<double> written{123, 456};
  std::vector<tempflow::index_t> scratch(2), short_scratch(1);
  CHECK_THROWS_AS(group_advantages(bad, groups, {}, written, scratch), value_error);
  CHECK_THROWS_MATCHES(group_advantages(rewards{1, 2}, groups, {}, written, short_scratch), shape_error,
                       MessageMatches(ContainsSubstring("scratch has 1")));
  CHECK(written == std::vector<double>{123, 456});
  std::vector<double> too_long(3, 789);
  CHECK_THROWS_MATCHES(group_advantages(rewards{1, 2}, groups, {}, too_long, scratch), shape_error,
                       MessageMatches(ContainsSubstring("advantages has 3")));
  CHECK(too_long == std::vector<double>(3, 789));
}

TEST_CASE("several rewards become one by their weighted sum", "[advantage]") {
  const rewards aesthetic{0.5, 1, 2}, size{10, 20, 30};
  CHECK(weighted_sum({{aesthetic, 0.5}, {size, -0.25}}) == rewards{0.25 - 2.5, 0.5 - 5, 1 - 7.5});
  CHECK(weighted_sum({{aesthetic}}) == aesthetic);
}

TEST_CASE("a weighted sum that overflows is an error that names the sample", "[advantage][bad_input]") {
  const rewards large{1, 1e308};
  CHECK_THROWS_MATCHES(weighted_sum({{large, 1}, {large, 1}}), value_error,
                       MessageMatches(ContainsSubstring("sample 1")));
}

TEST_CASE("rewards that cannot be added are errors that name the reward and the sample",
          "[advantage][bad_input]") {
  const rewards three{1, 2, 3}, two{1, 2}, broken{1, std::nan(""), 3};
  CHECK_THROWS_AS(weighted_sum({}), shape_error);
  CHECK_THROWS_MATCHES(weighted_sum({{three, 1}, {two, 1}}), shape_error,
                       MessageMatches(ContainsSubstring("reward 1 has 2") && ContainsSubstring("3")));
  CHECK_THROWS_MATCHES(weighted_sum({{three, 1}, {broken, 1}}), value_error,
                       MessageMatches(ContainsSubstring("reward 1 of sample 1 = nan")));
  CHECK_THROWS_MATCHES(weighted_sum({{three, infinity}}), value_error,
                       MessageMatches(ContainsSubstring("reward 0") && ContainsSubstring("inf")));
}
