// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Group-relative advantages from (R - mean) / (std + eps), with every option of the field.

#include "tempflow/advantage/group_advantages.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/rewards.hpp"
#include "tempflow/advantage/dead_group_samples.hpp"

using support::ids;
using support::moments_of;
using support::rewards;
using tempflow::advantage_baseline;
using tempflow::advantage_options;
using tempflow::advantage_scale;
using tempflow::epsilon_rule;
using tempflow::group_advantages;
using tempflow::std_estimate;

namespace {

struct problem {
  rewards r;
  ids g;
  std::map<std::int64_t, rewards> members;
};

// Scattered groups of 2 to 6 samples with ids that are neither small nor sorted.
problem scattered() {
  problem made;
  support::numbers source(11);
  for (std::int64_t i = 0; i < 20; ++i) {
    const std::int64_t group = 1000000007LL * ((i * i) % 5) - 3;
    made.r.push_back(0.8 + 0.1 * source.next());
    made.g.push_back(group);
    made.members[group].push_back(made.r.back());
  }
  return made;
}

void check_against(const advantage_options& options,
                   double (*divisor)(const rewards& group, const rewards& all)) {
  const auto p = scattered();
  const auto result = group_advantages(p.r, p.g, options);
  REQUIRE(result.values.size() == p.r.size());
  for (std::size_t i = 0; i < p.r.size(); ++i) {
    const auto& group = p.members.at(p.g[i]);
    CHECK(result.values[i] ==
          Approx((p.r[i] - moments_of(group).mean) / divisor(group, p.r)).epsilon(1e-12).margin(1e-13));
  }
}

}  // namespace

TEST_CASE("advantages are z-scores within groups by population std + 1e-4 unless told otherwise",
          "[advantage]") {
  check_against({}, [](const rewards& group, const rewards&) { return moments_of(group).std + 1e-4; });
}

TEST_CASE("the sample std divides by n - 1", "[advantage]") {
  check_against({.std = std_estimate::sample, .epsilon = 1e-8},
                [](const rewards& group, const rewards&) { return moments_of(group, 1).std + 1e-8; });
}

TEST_CASE("the global std is that of all rewards, while the mean stays the group's", "[advantage]") {
  check_against({.scale = advantage_scale::global_std},
                [](const rewards&, const rewards& all) { return moments_of(all).std + 1e-4; });
  check_against({.scale = advantage_scale::global_std, .std = std_estimate::sample},
                [](const rewards&, const rewards& all) { return moments_of(all, 1).std + 1e-4; });
}

TEST_CASE("without a std advantages are centred rewards", "[advantage]") {
  check_against({.scale = advantage_scale::none}, [](const rewards&, const rewards&) { return 1.0; });
}

TEST_CASE("Dr.GRPO is no std: advantages in units of the reward, whatever epsilon", "[advantage]") {
  const auto result = group_advantages(rewards{1, 4, 7, 10, 12}, ids{0, 0, 0, 5, 5},
                                       {.scale = advantage_scale::none, .epsilon = 3});
  CHECK(result.values == rewards{-3, 0, 3, -1, 1});
}

TEST_CASE("the others' mean is the baseline of RLOO, with and without a std", "[advantage]") {
  const auto p = scattered();
  for (const auto scale : {advantage_scale::none, advantage_scale::group_std, advantage_scale::global_std}) {
    const auto found =
        group_advantages(p.r, p.g, {.scale = scale, .baseline = advantage_baseline::others_mean});
    for (std::size_t i = 0; i < p.r.size(); ++i) {
      double others = 0, count = 0;
      for (std::size_t j = 0; j < p.r.size(); ++j) {
        if (j != i && p.g[j] == p.g[i]) others += p.r[j], count += 1;
      }
      const double divisor = scale == advantage_scale::none ? 1
                             : scale == advantage_scale::group_std
                                 ? moments_of(p.members.at(p.g[i])).std + 1e-4
                                 : moments_of(p.r).std + 1e-4;
      CHECK(found.values[i] == Approx((p.r[i] - others / count) / divisor).epsilon(1e-12).margin(1e-13));
    }
  }
}

TEST_CASE("excluded rewards are not among the others, and leave one alone with 0", "[advantage]") {
  const double missing = std::nan("");
  const auto found = group_advantages(rewards{1, missing, 4, 9, missing}, ids{0, 0, 0, 1, 1},
                                      {.scale = advantage_scale::none,
                                       .not_finite = tempflow::not_finite_rewards::exclude,
                                       .baseline = advantage_baseline::others_mean});
  CHECK(found.values == rewards{-3, 0, 3, 0, 0});
  CHECK(found.statistics.singletons == 1);
}

TEST_CASE("a group whose std is below the least teaches nothing, and is counted with those of equal rewards",
          "[advantage]") {
  // Stds of 1e-3, 0.5 and 0; the sample estimates of the first two are sqrt(2) times as much.
  const rewards r{1, 1.002, 4, 5, 7, 7};
  const ids groups{0, 0, 1, 1, 2, 2};
  for (const auto scale : {advantage_scale::none, advantage_scale::group_std, advantage_scale::global_std}) {
    const advantage_options options{.scale = scale, .min_std = 0.01};
    const auto found = group_advantages(r, groups, options);
    const auto without = group_advantages(r, groups, {.scale = scale});
    CHECK(found.values == rewards{0, 0, without.values[2], without.values[3], 0, 0});
    CHECK(found.statistics.zero_std_groups == 2);
    CHECK(found.statistics.dead_groups == 2);
    CHECK(found.statistics.reward_std == without.statistics.reward_std);
    CHECK(tempflow::dead_group_samples(found, groups) == std::vector<tempflow::index_t>{0, 1, 4, 5});
  }
  const auto dead = [&](double least, std_estimate estimate) {
    return group_advantages(r, groups, {.std = estimate, .min_std = least}).statistics.zero_std_groups;
  };
  CHECK(dead(0.6, std_estimate::population) == 3);
  CHECK(dead(0.6, std_estimate::sample) == 2);
  CHECK(dead(0.5, std_estimate::population) == 2);  // the least itself is enough
}

TEST_CASE("epsilon as a floor only acts on smaller stds", "[advantage]") {
  check_against({.epsilon = 1e-6, .epsilon_as = epsilon_rule::floor},
                [](const rewards& group, const rewards&) { return moments_of(group).std; });
  check_against({.epsilon = 10, .epsilon_as = epsilon_rule::floor},
                [](const rewards&, const rewards&) { return 10.0; });
}

TEST_CASE("advantages of a group add up to zero", "[advantage]") {
  const auto p = scattered();
  const auto result = group_advantages(p.r, p.g);
  std::map<std::int64_t, double> sums;
  for (std::size_t i = 0; i < p.r.size(); ++i) sums[p.g[i]] += result.values[i];
  for (const auto& [group, sum] : sums) CHECK(std::abs(sum) < 1e-11);
}

TEST_CASE("runs of siblings in any order give the bits of the sorted batch", "[advantage]") {
  const ids in_runs = {9, 9, 4, 4, 4, 9, -2, -2, 7, 7, 7, 7, 4, -2, 9, 9};
  support::numbers source(12);
  const rewards r = source.take(static_cast<tempflow::index_t>(in_runs.size()));
  std::vector<std::size_t> order(in_runs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return in_runs[a] < in_runs[b]; });
  ids sorted_ids;
  rewards sorted_rewards;
  for (const std::size_t i : order) sorted_ids.push_back(in_runs[i]), sorted_rewards.push_back(r[i]);
  const auto found = group_advantages(r, in_runs), expected = group_advantages(sorted_rewards, sorted_ids);
  for (std::size_t i = 0; i < order.size(); ++i) CHECK(found.values[order[i]] == expected.values[i]);
}

TEST_CASE("a singleton gets zero under every rule, and is counted", "[advantage]") {
  for (const auto scale : {advantage_scale::group_std, advantage_scale::global_std, advantage_scale::none}) {
    for (const auto estimate : {std_estimate::population, std_estimate::sample}) {
      const auto result = group_advantages(rewards{0.5, 0.9, 0.25}, ids{1, 2, 2},
                                           {.scale = scale, .std = estimate, .epsilon = 0});
      CHECK(result.values[0] == 0);
      CHECK(result.values[1] > 0);
      CHECK(result.statistics.singletons == 1);
      CHECK(result.statistics.zero_std_groups == 0);
    }
  }
  CHECK(group_advantages(rewards{0.5}, ids{7}, {.std = std_estimate::sample}).values[0] == 0);
}

TEST_CASE("a group of equal rewards gets exactly zero, even where their mean rounds, and is counted",
          "[advantage]") {
  // The sum of six times 0.1 is not 0.6.
  const auto result = group_advantages(rewards{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1, 2},
                                       ids{3, 3, 3, 3, 3, 3, 4, 4}, {.epsilon = 0});
  for (std::size_t i = 0; i < 6; ++i) CHECK(result.values[i] == 0);
  CHECK(result.values[7] == Approx(1));
  CHECK(result.statistics.zero_std_groups == 1);
  CHECK(result.statistics.zero_std_share() == 0.5);
}

TEST_CASE("large rewards that differ little keep their differences", "[advantage]") {
  const auto result = group_advantages(rewards{1e9, 1e9 + 1, 1e9 + 2}, ids{0, 0, 0}, {.epsilon = 0});
  CHECK(result.values[0] == Approx(-std::sqrt(1.5)).epsilon(1e-12));
  CHECK(std::abs(result.values[1]) < 1e-12);
  CHECK(result.values[2] == Approx(std::sqrt(1.5)).epsilon(1e-12));
}

TEST_CASE("the statistics describe samples and groups", "[advantage]") {
  const auto result = group_advantages(rewards{1, 3, 5, 5, 2}, ids{9, 9, -4, -4, 0});
  CHECK(result.statistics.samples == 5);
  CHECK(result.statistics.groups == 3);
  CHECK(result.statistics.singletons == 1);
  CHECK(result.statistics.zero_std_groups == 1);
  CHECK(result.statistics.zero_std_share() == Approx(1.0 / 3));
  CHECK(result.statistics.reward_mean == Approx(3.2));
  CHECK(result.statistics.reward_std == Approx(std::sqrt(12.8 / 5)));
  CHECK(result.statistics.group_std_mean == Approx(1.0 / 3));  // 1, 0 and 0
}

TEST_CASE("advantages and statistics have the same bits for the samples in any order", "[advantage]") {
  // Rewards of magnitudes from 1e-6 to 1e6, whose sums in double depend on their order.
  support::numbers source(13);
  rewards r;
  ids g;
  for (std::int64_t i = 0; i < 60; ++i) {
    r.push_back(source.next() * std::pow(10.0, i % 13 - 6)), g.push_back(i * i % 7);
  }
  std::vector<std::size_t> order(r.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (const auto scale : {advantage_scale::group_std, advantage_scale::global_std, advantage_scale::none}) {
    const auto expected = group_advantages(r, g, {.scale = scale});
    for (std::size_t round = 0; round < 20; ++round) {
      std::ranges::rotate(order, order.begin() + 7);
      std::swap(order[round], order[2 * round + 1]);
      rewards moved_rewards;
      ids moved_ids;
      for (const std::size_t i : order) moved_rewards.push_back(r[i]), moved_ids.push_back(g[i]);
      const auto found = group_advantages(moved_rewards, moved_ids, {.scale = scale});
      for (std::size_t i = 0; i < order.size(); ++i) CHECK(found.values[i] == expected.values[order[i]]);
      CHECK(found.statistics.reward_mean == expected.statistics.reward_mean);
      CHECK(found.statistics.reward_std == expected.statistics.reward_std);
      CHECK(found.statistics.group_std_mean == expected.statistics.group_std_mean);
    }
  }
}

TEST_CASE("a sum without an order is exact until it is rounded once", "[advantage]") {
  using tempflow::detail::order_free_sum;
  for (const std::size_t count : {std::size_t{3}, std::size_t{1} << 20, std::size_t{1} << 34}) {
    for (const double unit : {1.0, 1e-250, 1e300}) {
      order_free_sum sum(0.1 * unit, count);
      for (int i = 0; i < 3; ++i) sum.add(0.1 * unit);
      CHECK(sum.value() == 3 * (0.1 * unit));  // a product is rounded once
      if (count > std::size_t{1} << 20)
        continue;  // whose terms are cut at their 54th bit, no longer at the 82nd
      order_free_sum far_apart(unit, count);
      for (const double term : {unit, unit * 0x1p-28, unit}) far_apart.add(term);
      CHECK(far_apart.value() == unit * (2 + 0x1p-28));
    }
  }
}

TEST_CASE("one reward far from a million others has the std of the formula", "[advantage]") {
  constexpr std::size_t count = 1000000;
  rewards r(count);
  for (std::size_t i = 0; i < count; ++i) r[i] = i % 2 == 0 ? 1.0 : 1.0 + 0x1p-20;
  r[0] = 2;
  const double n = count, away = 0x1p-20, sum = (n / 2) * away + 1, squares = (n / 2) * away * away + 1,
               variance = squares / n - (sum / n) * (sum / n);
  const auto found = group_advantages(r, ids(count)).statistics;
  CHECK(found.reward_mean == Approx(1 + sum / n).epsilon(1e-15));
  CHECK(found.reward_std == Approx(std::sqrt(variance)).epsilon(1e-12));
}

TEST_CASE("the statistics tell the sizes of groups", "[advantage]") {
  const auto result = group_advantages(rewards{1, 3, 5, 5, 2, 8, 9}, ids{9, 9, -4, -4, 0, 9, 9});
  CHECK(result.statistics.smallest_group == 1);
  CHECK(result.statistics.largest_group == 4);
  const auto whole = group_advantages(rewards{1, 3, 5, 6}, ids{1, 2, 1, 2}, {.group_size = 2});
  CHECK(whole.statistics.smallest_group == 2);
  CHECK(whole.statistics.largest_group == 2);
}

TEST_CASE("advantages can be written to the caller's memory", "[advantage]") {
  const auto p = scattered();
  std::vector<double> written(p.r.size());
  std::vector<tempflow::index_t> scratch(p.r.size());
  const auto statistics = group_advantages(p.r, p.g, {}, written, scratch);
  CHECK(written == group_advantages(p.r, p.g).values);
  CHECK(statistics.groups == static_cast<tempflow::index_t>(p.members.size()));
}
