// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Running statistics of prompts: against a plain textbook tracker, over batches, states and errors.

#include "tempflow/advantage/running_advantages.hpp"

#include <cmath>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/rewards.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using support::ids;
using support::moments_of;
using support::rewards;
using tempflow::group_error;
using tempflow::index_t;
using tempflow::not_finite_rewards;
using tempflow::running_advantages;
using tempflow::running_moments;
using tempflow::running_options;
using tempflow::running_state;
using tempflow::shape_error;
using tempflow::value_error;

namespace {

/// DDPO's tracker: the batch goes in first; a prompt with too few rewards takes the batch's moments.
struct plain_tracker {
  std::size_t window, warm_up;  // window 0: all
  double ddof;
  std::map<std::int64_t, std::deque<double>> past = {};

  rewards take_up(const rewards& r, const ids& prompts) {
    for (std::size_t i = 0; i < r.size(); ++i) {
      auto& own = past[prompts[i]];
      own.push_back(r[i]);
      if (window > 0 && own.size() > window) own.pop_front();
    }
    rewards advantages;
    for (std::size_t i = 0; i < r.size(); ++i) {
      const auto& own = past.at(prompts[i]);
      const auto [mean, std] = own.size() < warm_up ? moments_of(r, ddof) : moments_of(own, ddof);
      advantages.push_back((r[i] - mean) / (std + 1e-6));
    }
    return advantages;
  }
};

struct batch {
  rewards r;
  ids prompts;
};

std::vector<batch> batches(std::size_t count) {
  support::numbers source(21);
  std::vector<batch> made;
  for (std::size_t b = 0; b < count; ++b) {
    batch next;
    for (std::int64_t i = 0; i < 12; ++i) {
      next.prompts.push_back((i * i + static_cast<std::int64_t>(b)) % 5 - 1000000007);
      next.r.push_back(0.7 + 0.2 * source.next());
    }
    made.push_back(next);
  }
  return made;
}

void check_close(const rewards& found, const rewards& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    CHECK(found[i] == Approx(expected[i]).epsilon(1e-10).margin(1e-11));
}

}  // namespace

TEST_CASE("running statistics are DDPO's, with a window and with all rewards", "[advantage]") {
  for (const index_t window : {0, 5, 9}) {
    for (const index_t warm_up : {1, 2, 5}) {
      for (const auto estimate : {tempflow::std_estimate::population, tempflow::std_estimate::sample}) {
        if (warm_up == 1 && estimate == tempflow::std_estimate::sample) continue;  // 0 / 0 in the textbook
        running_advantages running({.window = window, .warm_up = warm_up, .std = estimate});
        plain_tracker plain{static_cast<std::size_t>(window), static_cast<std::size_t>(warm_up),
                            estimate == tempflow::std_estimate::sample ? 1.0 : 0.0};
        for (const auto& [r, prompts] : batches(6)) {
          check_close(running.take_up(r, prompts).values, plain.take_up(r, prompts));
        }
      }
    }
  }
}

TEST_CASE("the first batch without a warm-up is group_advantages', bit by bit", "[advantage]") {
  const auto [r, prompts] = batches(1)[0];
  const auto expected = tempflow::group_advantages(r, prompts, {.epsilon = 1e-6});
  const auto found = running_advantages({.warm_up = 1}).take_up(r, prompts);
  CHECK(found.values == expected.values);
  CHECK(found.statistics.group_std_mean == expected.statistics.group_std_mean);
  CHECK(found.statistics.zero_std_groups == expected.statistics.zero_std_groups);
}

TEST_CASE("below the warm-up the batch's moments stand in, also for a prompt with one sample",
          "[advantage]") {
  running_advantages running({.window = 4, .warm_up = 3, .epsilon = 0});
  // Mean 3, std 2: both prompts are new.
  CHECK(running.take_up(rewards{1, 5}, ids{8, 9}).values == rewards{-1, 1});
  // Prompt 8 knows 1, 1, 4 and 2 by now: mean 2, std sqrt(1.5). Prompt 9 knows two rewards, so takes the
  // moments of the batch: mean 4, std sqrt(9.5).
  const auto found = running.take_up(rewards{1, 4, 2, 9}, ids{8, 8, 8, 9});
  check_close(found.values, {-1 / std::sqrt(1.5), 2 / std::sqrt(1.5), 0, 5 / std::sqrt(9.5)});
}

TEST_CASE("a prompt whose rewards have all been equal gets exactly 0", "[advantage]") {
  for (const index_t window : {0, 8}) {
    running_advantages running({.window = window, .warm_up = 2, .epsilon = 0});
    running.take_up(rewards{0.1, 0.1, 0.1, 3}, ids{1, 1, 1, 2});
    const auto found = running.take_up(rewards{0.1, 4}, ids{1, 2});
    CHECK(found.values[0] == 0);
    CHECK(found.values[1] == 1);
    CHECK(found.statistics.zero_std_groups == 1);
    CHECK(found.statistics.dead_groups == 1);
  }
}

TEST_CASE("excluded rewards are not taken up, have 0 and are named", "[advantage]") {
  const double missing = std::nan("");
  for (const index_t window : {0, 8}) {
    const running_options options{.window = window, .warm_up = 1, .not_finite = not_finite_rewards::exclude};
    running_advantages running(options), without(options);
    const auto found = running.take_up(rewards{1, missing, 4, missing}, ids{3, 3, 3, 6});
    const auto expected = without.take_up(rewards{1, 4}, ids{3, 3});
    CHECK(found.values == rewards{expected.values[0], 0, expected.values[1], 0});
    CHECK(found.excluded == std::vector<index_t>{1, 3});
    CHECK(running.state().prompts == ids{3});
    CHECK(running.state().numbers == without.state().numbers);
  }
}

TEST_CASE("a state goes on with the bits of the tracker that it was taken of", "[advantage]") {
  for (const index_t window : {0, 6}) {
    const running_options options{.window = window, .warm_up = 3};
    running_advantages running(options);
    const auto all = batches(6);
    for (std::size_t b = 0; b < 3; ++b) running.take_up(all[b].r, all[b].prompts);
    running_advantages restored(options, running.state());
    for (std::size_t b = 3; b < 6; ++b) {
      CHECK(restored.take_up(all[b].r, all[b].prompts).values ==
            running.take_up(all[b].r, all[b].prompts).values);
    }
    CHECK(restored.state().numbers == running.state().numbers);
  }
}

TEST_CASE("what cannot be taken up leaves the tracker as it was", "[advantage][bad_input]") {
  for (const index_t window : {0, 6}) {
    running_advantages running({.window = window, .warm_up = 3});
    running.take_up(rewards{1, 2, 3}, ids{7, 7, 7});
    const running_state before = running.state();
    CHECK_THROWS_MATCHES(
        running.take_up(rewards{1, 2}, ids{7}), shape_error,
        MessageMatches(ContainsSubstring("prompts has 1") && ContainsSubstring("rewards has 2")));
    CHECK_THROWS_AS(running.take_up(rewards{}, ids{}), group_error);
    CHECK_THROWS_MATCHES(
        running.take_up(rewards{4, std::nan("")}, ids{7, 42}), value_error,
        MessageMatches(ContainsSubstring("rewards[1] = nan") && ContainsSubstring("group 42")));
    CHECK_THROWS_MATCHES(running.take_up(rewards{4, 1e300}, ids{8, 7}), value_error,
                         MessageMatches(ContainsSubstring("too far apart")));
    CHECK_THROWS_MATCHES(running.take_up(rewards{1e200}, ids{7}), value_error,
                         MessageMatches(ContainsSubstring("too far apart")));
    CHECK(running.state().prompts == before.prompts);
    CHECK(running.state().counts == before.counts);
    CHECK(running.state().numbers == before.numbers);
  }
  running_advantages excluding({.not_finite = not_finite_rewards::exclude});
  CHECK_THROWS_AS(excluding.take_up(rewards{std::nan("")}, ids{1}), group_error);
}

TEST_CASE("options and states that make no sense are errors", "[advantage][bad_input]") {
  for (const running_options& bad :
       {running_options{.window = -1}, running_options{.warm_up = 0},
        running_options{.window = 8, .warm_up = 9}, running_options{.epsilon = -1}}) {
    CHECK_THROWS_AS(running_advantages(bad), value_error);
  }
  CHECK_NOTHROW(running_advantages({.window = 0, .warm_up = 1000}));
  const running_options windowed{.window = 3, .warm_up = 1}, all{.window = 0};
  const auto refused = [](const running_options& options, const running_state& state, const char* why) {
    CHECK_THROWS_MATCHES(running_advantages(options, state), value_error,
                         MessageMatches(ContainsSubstring(why)));
  };
  refused(windowed, {.window = 3, .prompts = {1}, .counts = {}, .numbers = {}}, "no count");
  refused(windowed, {.window = 3, .prompts = {1}, .counts = {4}, .numbers = {1, 2, 3, 4}},
          "outside the window");
  refused(windowed, {.window = 3, .prompts = {1}, .counts = {0}, .numbers = {}}, "outside the window");
  refused(windowed, {.window = 3, .prompts = {1, 1}, .counts = {1, 1}, .numbers = {1, 2}}, "ascend");
  refused(windowed, {.window = 3, .prompts = {1}, .counts = {2}, .numbers = {1}}, "lacks");
  refused(windowed, {.window = 3, .prompts = {1}, .counts = {1}, .numbers = {1, 2}}, "more");
  refused(windowed, {.window = 3, .prompts = {1}, .counts = {1}, .numbers = {std::nan("")}}, "not finite");
  refused(all, {.prompts = {1}, .counts = {5}, .numbers = {1, -1}}, "negative");
  refused(windowed, {.prompts = {1}, .counts = {2}, .numbers = {1, 1}}, "window = 0");
  CHECK_NOTHROW(running_advantages(all, {.prompts = {1}, .counts = {5}, .numbers = {1, 1}}));
}

TEST_CASE("moments of parts join to those of all numbers, in any cut", "[advantage]") {
  const rewards numbers = support::numbers(31).take(40);
  const auto [mean, std] = moments_of(numbers);
  for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, std::size_t{17}, std::size_t{40}}) {
    running_moments a, b;
    for (std::size_t i = 0; i < numbers.size(); ++i) (i < cut ? a : b).add(1e6 + numbers[i]);
    a += b;
    CHECK(a.count == 40);
    CHECK(a.mean == Approx(1e6 + mean).epsilon(1e-14));
    CHECK(a.std() == Approx(std).epsilon(1e-9));  // the numbers themselves are rounded to 1e-10
    CHECK(a.std(1) == Approx(std * std::sqrt(40.0 / 39)).epsilon(1e-9));
  }
  running_moments equal;
  for (int i = 0; i < 7; ++i) equal.add(0.1);
  CHECK((equal.mean == 0.1 && equal.squares == 0));
  CHECK((running_moments{}.std() == 0 && running_moments{.count = 1, .mean = 4}.std(1) == 0));
}

TEST_CASE("signal to noise is |mean| over the sample std", "[advantage]") {
  running_moments numbers;
  CHECK_FALSE(tempflow::is_finite(numbers.signal_to_noise()));
  for (const double x : {-1.0, -3.0, -5.0}) numbers.add(x);
  CHECK(numbers.signal_to_noise() == Approx(1.5));  // 3 over 2
  const running_moments same{.count = 2, .mean = 4}, nothing{.count = 2};
  CHECK(same.signal_to_noise() == tempflow::positive_infinity);
  CHECK(nothing.signal_to_noise() == 0);
}
