// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Several rewards, each normalised in its groups: against the formula written out, with and without a mark for rewards
// that do not apply.

#include "tempflow/advantage/combined_advantages.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <tuple>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/rewards.hpp"
#include "tempflow/advantage/dead_group_samples.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using support::ids;
using support::moments_of;
using support::rewards;
using tempflow::combination_options;
using tempflow::combined_advantages;
using tempflow::group_error;
using tempflow::index_t;
using tempflow::named_reward;
using tempflow::not_finite_rewards;
using tempflow::shape_error;
using tempflow::value_error;

using named = std::vector<named_reward>;

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();

/// GDPO of Flow-Factory, written out: NaN where a reward does not apply. Without the last step, MixGRPO's.
rewards textbook(const std::vector<rewards>& all, const rewards& weights, const ids& groups, double ddof,
                 bool normalize, double epsilon, bool add) {
  const auto divisor = [&](double std) { return add ? std + epsilon : std::max(std, epsilon); };
  rewards sums(groups.size());
  for (std::size_t k = 0; k < all.size(); ++k) {
    std::map<std::int64_t, rewards> members;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      if (!std::isnan(all[k][i])) members[groups[i]].push_back(all[k][i]);
    }
    for (std::size_t i = 0; i < groups.size(); ++i) {
      if (std::isnan(all[k][i])) continue;
      const rewards& own = members.at(groups[i]);
      if (own.size() == 1) continue;
      const auto [mean, std] = moments_of(own, ddof);
      sums[i] += weights[k] * (all[k][i] - mean) / divisor(std);
    }
  }
  if (!normalize) return sums;
  rewards counted;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    bool applies = false;
    for (const auto& one : all) applies = applies || !std::isnan(one[i]);
    if (applies) counted.push_back(sums[i]);
  }
  const auto [mean, std] = moments_of(counted, ddof);
  for (double& a : sums) a = (a - mean) / divisor(std);
  return sums;
}

struct problem {
  rewards a, b;
  ids groups;
};

problem scattered() {
  problem made;
  support::numbers source(41);
  for (std::int64_t i = 0; i < 24; ++i) {
    made.a.push_back(0.5 + 0.1 * source.next());
    made.b.push_back(20 + 7 * source.next());
    made.groups.push_back(i * i % 5);
  }
  return made;
}

void check_close(const rewards& found, const rewards& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    CHECK(found[i] == Approx(expected[i]).epsilon(1e-12).margin(1e-13));
}

}  // namespace

TEST_CASE("GDPO normalises each reward in its groups, and their sum over the batch", "[advantage]") {
  const auto [a, b, groups] = scattered();
  const named both{{.name = "aesthetic", .values = a, .weight = 0.7},
                   {.name = "text", .values = b, .weight = 1.3}};
  const auto found = combined_advantages(both, groups);
  check_close(found.advantages.values, textbook({a, b}, {0.7, 1.3}, groups, 0, true, 1e-6, false));
  CHECK(found.advantages.excluded.empty());
  CHECK(found.advantages.statistics.samples == 24);
  CHECK(found.advantages.statistics.largest_group == 10);
}

TEST_CASE("MixGRPO sums z-scores by the sample std, and leaves it at that", "[advantage]") {
  const auto [a, b, groups] = scattered();
  const named both{{.name = "a", .values = a, .weight = 2}, {.name = "b", .values = b, .weight = -1}};
  const auto found = combined_advantages(
      both, groups,
      {.each = {.std = tempflow::std_estimate::sample, .epsilon = 1e-8}, .normalize_sum = false});
  check_close(found.advantages.values, textbook({a, b}, {2, -1}, groups, 1, false, 1e-8, true));
}

TEST_CASE("one reward that is not normalised again has group_advantages' advantages, bit by bit",
          "[advantage]") {
  const auto [a, b, groups] = scattered();
  const named one{{.name = "b", .values = b}};
  for (const auto scale : {tempflow::advantage_scale::group_std, tempflow::advantage_scale::global_std}) {
    const tempflow::advantage_options options{.scale = scale, .min_std = 3.5};
    const auto expected = tempflow::group_advantages(b, groups, options);
    const auto found = combined_advantages(one, groups, {.each = options, .normalize_sum = false});
    CHECK(found.advantages.values == expected.values);
    CHECK(found.rewards[0].groups.zero_std_groups == expected.statistics.zero_std_groups);
    CHECK(found.rewards[0].groups.group_std_mean == expected.statistics.group_std_mean);
    CHECK(found.advantages.statistics.dead_groups == expected.statistics.dead_groups);
  }
}

TEST_CASE("a reward that does not apply enters neither its statistics nor the sum", "[advantage]") {
  auto [a, b, groups] = scattered();
  rewards a_known = a, b_known = b;
  for (const std::size_t i : {2u, 5u, 6u, 11u}) a[i] = -10, a_known[i] = missing;
  for (const std::size_t i : {0u, 6u, 13u}) b[i] = missing, b_known[i] = missing;  // sample 6 has none
  const named both{{.name = "ocr", .values = a, .weight = 1, .not_applicable = -10},
                   {.name = "style", .values = b, .weight = 0.5, .not_applicable = missing}};
  for (const bool normalize : {true, false}) {
    const auto found = combined_advantages(both, groups, {.normalize_sum = normalize});
    rewards expected = textbook({a_known, b_known}, {1, 0.5}, groups, 0, normalize, 1e-6, false);
    expected[6] = 0;
    check_close(found.advantages.values, expected);
    CHECK(found.advantages.values[6] == 0);
    CHECK(found.advantages.excluded == std::vector<index_t>{6});
    CHECK(found.advantages.statistics.excluded == 1);
  }
}

TEST_CASE("each reward is reported: mean, std, extremes, and how often it does not apply", "[advantage]") {
  const rewards a{1, 3, -10, 8}, b{-10, -10, -10, -10}, c{5, 5, 7, 7};
  const named all{{.name = "a", .values = a, .not_applicable = -10},
                  {.name = "b", .values = b, .not_applicable = -10},
                  {.name = "c", .values = c, .weight = 0}};
  const auto found = combined_advantages(all, ids{0, 0, 1, 1});
  REQUIRE(found.rewards.size() == 3);
  const auto& [of_a, of_b, of_c] = std::tie(found.rewards[0], found.rewards[1], found.rewards[2]);
  CHECK(of_a.name == "a");
  CHECK(of_a.samples == 4);
  CHECK(of_a.not_applicable_share() == 0.25);
  CHECK(of_a.mean == 4);
  CHECK(of_a.std == Approx(std::sqrt(26.0 / 3)));
  CHECK((of_a.min == 1 && of_a.max == 8));
  CHECK(of_a.groups.singletons == 1);
  CHECK(of_b.not_applicable_share() == 1);
  CHECK_FALSE(tempflow::is_finite(of_b.mean));
  CHECK_FALSE(tempflow::is_finite(of_b.max));
  CHECK(of_c.not_applicable == 0);
  // The third sample has c alone, which has no weight: it is left out, of c's statistics too.
  CHECK(found.advantages.excluded == std::vector<index_t>{2});
  CHECK(of_c.mean == Approx(17.0 / 3));
  CHECK(found.advantages.values[0] == Approx(-std::sqrt(1.5)));  // of -1, 1 and a lone 0
  CHECK(found.advantages.values[3] == 0);
}

TEST_CASE("a group of equal rewards keeps its zeros through the batch's normalisation", "[advantage]") {
  auto [a, b, groups] = scattered();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (groups[i] == 4) a[i] = 0.1, b[i] = 0.3;
  }
  const named both{{.name = "a", .values = a}, {.name = "b", .values = b}};
  const auto found = combined_advantages(both, groups);
  CHECK(found.advantages.statistics.dead_groups == 1);
  for (const index_t i : tempflow::dead_group_samples(found.advantages, groups)) {
    CHECK(groups[static_cast<std::size_t>(i)] == 4);
  }
}

TEST_CASE("a reward that is not finite is refused by its name, or its sample is left out of all",
          "[advantage]") {
  rewards a{1, 2, 4, 7}, b{3, 1, 2, 2};
  a[1] = missing;
  const named both{{.name = "a", .values = a}, {.name = "judge", .values = b}};
  const ids groups(4);
  CHECK_THROWS_MATCHES(combined_advantages(both, groups), value_error,
                       MessageMatches(ContainsSubstring("reward a of sample 1 = nan")));
  const auto found = combined_advantages(both, groups, {.each = {.not_finite = not_finite_rewards::exclude}});
  const rewards a_rest{1, 4, 7}, b_rest{3, 2, 2};
  const named rest{{.name = "a", .values = a_rest}, {.name = "judge", .values = b_rest}};
  const auto expected = combined_advantages(rest, ids(3), {.each = {}}).advantages.values;
  CHECK(found.advantages.values == rewards{expected[0], 0, expected[1], expected[2]});
  CHECK(found.advantages.excluded == std::vector<index_t>{1});
  CHECK(found.rewards[1].mean == Approx(7.0 / 3));
  CHECK(found.rewards[0].not_applicable == 0);
}

TEST_CASE("rewards that cannot be combined are typed errors", "[advantage][bad_input]") {
  const rewards two{1, 2}, three{1, 2, 3}, none{-10, -10}, apart{1e300, -1e300};
  const ids groups{0, 0};
  const auto call = [](const named& all, const ids& of, const combination_options& options = {}) {
    return combined_advantages(all, of, options);
  };
  CHECK_THROWS_AS(call({}, groups), shape_error);
  CHECK_THROWS_MATCHES(
      call({{.name = "x", .values = three}}, groups), shape_error,
      MessageMatches(ContainsSubstring("reward x has 3") && ContainsSubstring("groups has 2")));
  CHECK_THROWS_AS(call({{.name = "x", .values = {}}}, {}), group_error);
  CHECK_THROWS_MATCHES(call({{.name = "x", .values = two, .weight = missing}}, groups), value_error,
                       MessageMatches(ContainsSubstring("weight of reward x")));
  CHECK_THROWS_MATCHES(call({{.name = "x", .values = none, .not_applicable = -10}}, groups), group_error,
                       MessageMatches(ContainsSubstring("any of the 2")));
  CHECK_THROWS_MATCHES(call({{.name = "x", .values = two, .weight = 0}}, groups), group_error,
                       MessageMatches(ContainsSubstring("no reward of weight")));
  CHECK_THROWS_MATCHES(call({{.name = "x", .values = two}}, ids{0, 1}), group_error,
                       MessageMatches(ContainsSubstring("nothing to compare")));
  CHECK_THROWS_MATCHES(call({{.name = "x", .values = apart}}, groups), value_error,
                       MessageMatches(ContainsSubstring("reward x is too far apart")));
  CHECK_THROWS_AS(call({{.name = "x", .values = two}}, groups, {.each = {.epsilon = -1}}), value_error);
  CHECK_THROWS_AS(call({{.name = "x", .values = two}}, groups, {.each = {.group_size = 3}}), group_error);
}
