// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "measure.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "support/progress.hpp"
#include "support/random.hpp"

namespace fashion {
namespace {

/// Medians over the updates.
update_cost typical(const std::vector<update_cost>& updates) {
  const auto median = [&](auto number) {
    std::vector<double> values;
    for (const auto& u : updates) values.push_back(number(u));
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::ranges::nth_element(values, middle);
    return *middle;
  };
  update_cost result = updates.front();
  result.rollout_seconds = median([](const auto& u) { return u.rollout_seconds; });
  result.reward_seconds = median([](const auto& u) { return u.reward_seconds; });
  result.training_seconds = median([](const auto& u) { return u.training_seconds; });
  return result;
}

void print_line(const char* order, const update_cost& cost) {
  std::printf("%-20s %12lld %6lld %10.5f %9.5f %9.5f %9.5f\n", order,
              static_cast<long long>(cost.rollout_evaluations), static_cast<long long>(cost.rollout_calls),
              cost.rollout_seconds, cost.training_seconds, cost.reward_seconds, cost.seconds());
}

}  // namespace

void measure(const std::function<update_cost(calls)>& update, int repetitions, std::uint64_t seed) {
  constexpr std::array orders{calls::wavefront, calls::branch_after_branch};
  for (const auto order : orders) update(order), update(order);  // memory grows, kernels load

  support::progress bar("measuring");
  std::array<std::vector<update_cost>, 2> costs;
  const auto turns = support::shuffled(2 * repetitions, {seed, support::purpose::shuffle, 0});
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const auto which = static_cast<std::size_t>(turns[i] % 2);
    costs[which].push_back(update(orders[which]));
    bar.update(static_cast<double>(i + 1) / static_cast<double>(turns.size()));
  }
  const auto wavefront = typical(costs[0]), alone = typical(costs[1]);
  char title[160];
  std::snprintf(title, sizeof title,
                "seconds of an update, medians of %d each in random order:", repetitions);
  bar.say(title);
  std::printf("%-20s %12s %6s %10s %9s %9s %9s\n", "model calls", "evaluations", "calls", "rollout",
              "training", "reward", "update");
  print_line("wavefront", wavefront);
  print_line("branch after branch", alone);
  std::printf(
      "The wavefront's rollout is %.2f times as fast, its update %.2f times; without the reward, which the "
      "CPU\n"
      "computes, %.2f times. The model gets the same rows in both; branch after branch calls it for the "
      "trunk and\n"
      "for the branches of each step alone, as the published code does.\n",
      alone.rollout_seconds / wavefront.rollout_seconds, alone.seconds() / wavefront.seconds(),
      (alone.seconds() - alone.reward_seconds) / (wavefront.seconds() - wavefront.reward_seconds));
}

}  // namespace fashion
