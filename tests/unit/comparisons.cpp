// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Advantages of trimmed groups, win rates of comparisons, and the best and the worst of many.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "tempflow/advantage/best_and_worst.hpp"
#include "tempflow/advantage/trimmed_advantages.hpp"
#include "tempflow/advantage/win_rates.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::best_and_worst;
using tempflow::group_error;
using tempflow::index_t;
using tempflow::not_finite_rewards;
using tempflow::shape_error;
using tempflow::trimmed_advantages;
using tempflow::value_error;
using tempflow::win_rates;
using tempflow::win_rates_of_scores;

using rewards = std::vector<double>;
using ids = std::vector<std::int64_t>;
using list = std::vector<index_t>;

namespace {

const double missing = std::nan("");

}  // namespace

TEST_CASE("a trimmed group's lowest rewards are scored, but not of its mean and std", "[advantage]") {
  support::numbers source(51);
  rewards r;
  ids groups;
  std::map<std::int64_t, rewards> members;
  for (std::int64_t i = 0; i < 30; ++i) {
    groups.push_back(i * i % 7);
    r.push_back(source.next());
    members[groups.back()].push_back(r.back());
  }
  for (const double trim : {0.1, 0.25, 0.5}) {
    for (const double ddof : {0.0, 1.0}) {
      const auto found = trimmed_advantages(
          r, groups, trim,
          {.std = ddof == 0 ? tempflow::std_estimate::population : tempflow::std_estimate::sample,
           .epsilon = 1e-8});
      for (std::size_t i = 0; i < r.size(); ++i) {
        rewards kept = members.at(groups[i]);
        std::sort(kept.begin(), kept.end());
        kept.erase(kept.begin(),
                   kept.begin() + static_cast<int>(std::floor(static_cast<double>(kept.size()) * trim)));
        const double n = static_cast<double>(kept.size());
        const double mean = std::accumulate(kept.begin(), kept.end(), 0.0) / n;
        double squares = 0;
        for (const double value : kept) squares += (value - mean) * (value - mean);
        const double expected = n == 1 ? 0 : (r[i] - mean) / (std::sqrt(squares / (n - ddof)) + 1e-8);
        CHECK(found.values[i] == Approx(expected).epsilon(1e-12).margin(1e-13));
      }
    }
  }
  CHECK(trimmed_advantages(r, groups, 0).values == tempflow::group_advantages(r, groups).values);
}

TEST_CASE("what is kept of a trimmed group may teach nothing, and excluded rewards are not dropped",
          "[advantage]") {
  const auto found = trimmed_advantages(
      rewards{0, 1, 1, 1, missing, 2, 4, 6, 8}, ids{0, 0, 0, 0, 1, 1, 1, 1, 1}, 0.25,
      {.scale = tempflow::advantage_scale::none, .not_finite = not_finite_rewards::exclude});
  CHECK(found.values == rewards{0, 0, 0, 0, 0, -4, -2, 0, 2});  // of 2, 4, 6 and 8 one is dropped
  CHECK(found.statistics.zero_std_groups == 1);
  CHECK(found.excluded == list{4});
}

TEST_CASE("trims and options without a meaning are errors", "[advantage][bad_input]") {
  const rewards r{1, 2};
  const ids groups{0, 0};
  for (const double trim : {-0.1, 1.0, missing}) {
    CHECK_THROWS_MATCHES(trimmed_advantages(r, groups, trim), value_error,
                         MessageMatches(ContainsSubstring("trim = ")));
  }
  CHECK_THROWS_AS(trimmed_advantages(r, groups, 0.1, {.scale = tempflow::advantage_scale::global_std}),
                  value_error);
  CHECK_THROWS_AS(trimmed_advantages(r, groups, 0.1, {.baseline = tempflow::advantage_baseline::others_mean}),
                  value_error);
  CHECK_THROWS_AS(trimmed_advantages(r, groups, 0.1, {.epsilon = -1}), value_error);
  CHECK_THROWS_AS(trimmed_advantages(r, ids{0}, 0.1), shape_error);
  CHECK_THROWS_AS(trimmed_advantages(rewards{}, ids{}, 0.1), group_error);
  CHECK_THROWS_MATCHES(trimmed_advantages(rewards{1, missing}, groups, 0.1), value_error,
                       MessageMatches(ContainsSubstring("trimmed_advantages: rewards[1] = nan")));
}

TEST_CASE("a win rate is the share of the group's others that a sample beats", "[advantage]") {
  const rewards scores{3, 1, 2, 2, 50, 40};
  const ids groups{7, 7, 7, 7, -1, -1};
  const rewards expected{1, 0, 0.5, 0.5, 1, 0};
  CHECK(win_rates_of_scores(scores, groups) == expected);
  std::vector<std::pair<index_t, index_t>> asked;
  const auto judged = win_rates(groups, [&](index_t i, index_t j) {
    asked.emplace_back(i, j);
    const double a = scores[static_cast<std::size_t>(i)], b = scores[static_cast<std::size_t>(j)];
    return a == b ? 0.5 : a > b ? 1 : 0;
  });
  CHECK(judged == expected);
  std::sort(asked.begin(), asked.end());
  CHECK(asked ==
        std::vector<std::pair<index_t, index_t>>{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}, {4, 5}});
}

TEST_CASE("a table of preferences is read as it is, within groups alone", "[advantage]") {
  // Samples 0, 1 and 3 are a group; 2 and 4 another. NaN: not to be read.
  const ids groups{0, 0, 5, 0, 5};
  const rewards table{missing, 0.75,    missing, 1.0,     missing,  //
                      0.25,    missing, missing, 0.0,     missing,  //
                      missing, missing, missing, missing, 1.0,      //
                      0.5,     0.0,     missing, missing, missing, missing, missing, 0.5, missing, missing};
  CHECK(win_rates(groups, table) == rewards{0.875, 0.125, 1, 0.25, 0.5});
}

TEST_CASE("comparisons that cannot be made are typed errors", "[advantage][bad_input]") {
  const auto coin = [](index_t, index_t) { return 0.5; };
  CHECK_THROWS_MATCHES(win_rates(ids{1, 42, 1}, coin), group_error,
                       MessageMatches(ContainsSubstring("group 42")));
  CHECK_THROWS_AS(win_rates(ids{}, coin), group_error);
  for (const double answer : {-0.1, 1.1, missing}) {
    CHECK_THROWS_MATCHES(win_rates(ids{1, 1}, [&](index_t, index_t) { return answer; }), value_error,
                         MessageMatches(ContainsSubstring("sample 0 over 1")));
    CHECK_THROWS_AS(win_rates(ids{1, 1}, rewards{0, 0.5, answer, 0}), value_error);
  }
  CHECK_THROWS_MATCHES(win_rates(ids{1, 1}, rewards{0, 1, 0}), shape_error,
                       MessageMatches(ContainsSubstring("must be 4")));
  CHECK_THROWS_AS(win_rates_of_scores(rewards{1}, ids{1, 1}), shape_error);
  CHECK_THROWS_MATCHES(win_rates_of_scores(rewards{1, missing}, ids{1, 1}), value_error,
                       MessageMatches(ContainsSubstring("scores[1] = nan")));
}

TEST_CASE("the best and the worst of each group are chosen, or of all", "[advantage]") {
  const rewards scores{5, 1, 4, 2, 3, 60, 20, 40, 30, 50};
  const ids groups{0, 0, 0, 0, 0, 1, 1, 1, 1, 1};
  const auto of_each = best_and_worst(scores, groups, 4);
  CHECK(of_each.chosen == list{0, 1, 2, 3, 5, 6, 8, 9});
  CHECK(of_each.rest == list{4, 7});
  const auto of_all = best_and_worst(scores, 4);
  CHECK(of_all.chosen == list{1, 3, 5, 9});
  CHECK(of_all.rest == list{0, 2, 4, 6, 7, 8});
  CHECK(best_and_worst(scores, 10).rest.empty());
}

TEST_CASE("of equal scores the earlier are the higher, and each is chosen once", "[advantage]") {
  const auto found = best_and_worst(rewards{1, 1, 1, 1, 1}, 2);
  CHECK(found.chosen == list{0, 4});
  CHECK(found.rest == list{1, 2, 3});
}

TEST_CASE("excluded samples are never chosen", "[advantage]") {
  const rewards r{9, missing, 1, 5, missing, 4};
  const ids groups{0, 0, 0, 0, 1, 1};
  const auto advantages = tempflow::group_advantages(r, groups, {.not_finite = not_finite_rewards::exclude});
  const auto found = best_and_worst(advantages, groups, 2);
  CHECK(found.chosen == list{0, 2, 5});  // one is left of the second group
  CHECK(found.rest == list{1, 3, 4});
}

TEST_CASE("selections that cannot be made are typed errors", "[advantage][bad_input]") {
  const rewards scores{1, 2, 3};
  CHECK_THROWS_MATCHES(best_and_worst(scores, 3), value_error,
                       MessageMatches(ContainsSubstring("count = 3")));
  CHECK_THROWS_AS(best_and_worst(scores, 0), value_error);
  CHECK_THROWS_MATCHES(best_and_worst(scores, ids{7, 7, 42}, 2), group_error,
                       MessageMatches(ContainsSubstring("group 42 has 1")));
  CHECK_THROWS_AS(best_and_worst(scores, ids{7}, 2), shape_error);
  CHECK_THROWS_AS(best_and_worst(rewards{}, 2), group_error);
  CHECK_THROWS_MATCHES(best_and_worst(rewards{1, missing}, 2), value_error,
                       MessageMatches(ContainsSubstring("scores[1] = nan")));
}
