// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Samples without a reward, and groups that teach nothing: left out, counted and named.

#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/advantage/dead_group_samples.hpp"
#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/advantage/weighted_reward.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::advantage_scale;
using tempflow::dead_group_samples;
using tempflow::group_advantages;
using tempflow::index_t;
using tempflow::not_finite_rewards;

using rewards = std::vector<double>;
using ids = std::vector<std::int64_t>;
using list = std::vector<index_t>;

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("excluded rewards leave the others the advantages that they have without them", "[advantage]") {
  const rewards some{1, missing, 3, 5, -infinity, 8, 2}, rest{1, 3, 5, 8, 2};
  const ids groups{4, 4, 4, 9, 9, 9, 4}, rest_groups{4, 4, 9, 9, 4};
  for (const auto scale : {advantage_scale::group_std, advantage_scale::global_std, advantage_scale::none}) {
    const auto found =
        group_advantages(some, groups, {.scale = scale, .not_finite = not_finite_rewards::exclude});
    const auto expected = group_advantages(rest, rest_groups, {.scale = scale});
    CHECK(found.values == rewards{expected.values[0], 0, expected.values[1], expected.values[2], 0,
                                  expected.values[3], expected.values[4]});
    CHECK(found.excluded == list{1, 4});
    CHECK(found.statistics.samples == 7);
    CHECK(found.statistics.excluded == 2);
    CHECK(found.statistics.groups == 2);
    CHECK(found.statistics.smallest_group == 3);  // with the excluded sample
    CHECK(found.statistics.largest_group == 4);
    CHECK(found.statistics.reward_mean == Approx(19.0 / 5));
    CHECK(found.statistics.reward_std == expected.statistics.reward_std);
    CHECK(found.statistics.group_std_mean == expected.statistics.group_std_mean);
  }
}

TEST_CASE("without a reward that is not finite excluding changes nothing", "[advantage]") {
  const rewards r{1, 2.5, 3, 5, 8};
  const ids groups{4, 9, 4, 9, 4};
  const auto found = group_advantages(r, groups, {.not_finite = not_finite_rewards::exclude});
  CHECK(found.values == group_advantages(r, groups).values);
  CHECK(found.excluded.empty());
  CHECK(found.statistics.excluded == 0);
}

TEST_CASE("groups that exclusion leaves with one reward or none are singletons or not counted",
          "[advantage]") {
  const rewards r{missing, missing, 7, missing, 1, 3};
  const ids groups{0, 0, 1, 1, 2, 2};
  const auto found =
      group_advantages(r, groups, {.epsilon = 0, .not_finite = not_finite_rewards::exclude, .group_size = 2});
  CHECK(found.values == rewards{0, 0, 0, 0, -1, 1});
  CHECK(found.statistics.groups == 2);
  CHECK(found.statistics.singletons == 1);
  CHECK(found.statistics.zero_std_groups == 0);
  CHECK(found.statistics.dead_groups == 2);       // and the one that is not counted
  CHECK(found.statistics.group_std_mean == 0.5);  // of 0 and 1
  CHECK(found.statistics.smallest_group == 2);
}

TEST_CASE("rewards of which none is finite are an error", "[advantage][bad_input]") {
  CHECK_THROWS_MATCHES(
      group_advantages(rewards{missing, infinity}, ids{1, 1}, {.not_finite = not_finite_rewards::exclude}),
      tempflow::group_error, MessageMatches(ContainsSubstring("none of the 2 rewards")));
}

TEST_CASE(
    "samples that exclusion leaves alone in their groups are the error that they are without the others",
    "[advantage][bad_input]") {
  const auto refused = [](const rewards& some, const ids& groups) {
    CHECK_THROWS_MATCHES(group_advantages(some, groups, {.not_finite = not_finite_rewards::exclude}),
                         tempflow::group_error, MessageMatches(ContainsSubstring("has two finite rewards")));
  };
  refused({1, 2}, {0, 1});
  refused({1, missing}, {0, 0});
  refused({1, missing, 2, missing}, {0, 0, 1, 1});
  refused({1, missing, missing, 2}, {1, 1, 0, 0});
  refused({missing, 1, 2, infinity}, {3, 3, 1, 0});
  CHECK(group_advantages(rewards{1, missing, 2, missing, 5}, ids{0, 0, 1, 1, 0},
                         {.not_finite = not_finite_rewards::exclude})
            .statistics.dead_groups == 1);
}

TEST_CASE("a weighted sum of excluded rewards is not finite, and the rest is as it was", "[advantage]") {
  const rewards a{1, missing, 3, 1e308}, b{10, 20, infinity, 1e308};
  const auto total = tempflow::weighted_sum({{a, 2}, {b, 1}}, not_finite_rewards::exclude);
  CHECK(total[0] == 12);
  for (const std::size_t i : {1u, 2u, 3u}) CHECK_FALSE(tempflow::is_finite(total[i]));
  CHECK_THROWS_AS(tempflow::weighted_sum({{a, missing}}, not_finite_rewards::exclude), tempflow::value_error);
}

TEST_CASE("equal rewards and singletons teach nothing; an average sample teaches", "[advantage]") {
  const rewards r{1, 2, 3, 5, 5, 7, missing, 4, 6, missing, missing};
  const ids groups{8, 8, 8, -2, -2, 3, 5, 5, 5, 6, 6};
  const auto advantages = group_advantages(r, groups, {.not_finite = not_finite_rewards::exclude});
  CHECK(advantages.values[1] == 0);  // the mean of its group
  CHECK(dead_group_samples(advantages, groups) == list{3, 4, 5, 9, 10});
  CHECK(advantages.statistics.dead_groups == 3);
  CHECK(advantages.statistics.singletons == 1);
  CHECK(advantages.statistics.zero_std_groups == 1);
  CHECK_THROWS_MATCHES(dead_group_samples(advantages, ids{1, 2}), tempflow::shape_error,
                       MessageMatches(ContainsSubstring("groups has 2") && ContainsSubstring("11")));
}
