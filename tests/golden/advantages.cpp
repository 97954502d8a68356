// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Advantages of the published implementations: per-prompt z-scores, over samples and over samples x steps.

#include <cmath>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "support/golden.hpp"
#include "tempflow/advantage/combined_advantages.hpp"
#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/advantage/trimmed_advantages.hpp"

namespace {

struct recorded_advantages {
  std::vector<std::int64_t> prompts;
  std::vector<double> rewards, advantages;
  std::size_t steps;
  tempflow::advantage_options options;

  explicit recorded_advantages(const nlohmann::json& recorded)
      : prompts(recorded.at("prompts").get<std::vector<std::int64_t>>()),
        rewards(support::numbers_of(recorded.at("rewards"))),
        advantages(support::numbers_of(recorded.at("advantages"))),
        steps(rewards.size() / prompts.size()) {
    if (recorded.at("global_std").get<bool>()) options.scale = tempflow::advantage_scale::global_std;
  }

  void check(double computed, std::size_t i) const {
    INFO("entry " << i);
    CHECK(std::abs(computed - advantages[i]) <
          1e-13 * (1 + std::abs(advantages[i])));  // the references use fp64
  }
};

}  // namespace

TEST_CASE("advantages of every step are those of the published implementations", "[golden]") {
  const auto& cases = support::golden("advantages");
  REQUIRE(cases.size() == 6);
  for (const auto& recorded : cases) {
    const recorded_advantages golden(recorded);
    INFO(recorded.at("shape") << ", global_std " << recorded.at("global_std"));
    // The references take all statistics along the samples, so a step is a problem of its own.
    for (std::size_t t = 0; t < golden.steps; ++t) {
      std::vector<double> rewards;
      for (std::size_t i = 0; i < golden.prompts.size(); ++i)
        rewards.push_back(golden.rewards[i * golden.steps + t]);
      const auto computed = tempflow::group_advantages(rewards, golden.prompts, golden.options);
      for (std::size_t i = 0; i < rewards.size(); ++i) golden.check(computed.values[i], i * golden.steps + t);
    }
  }
}

TEST_CASE("one reward of several, not normalised again, has the published advantages", "[golden]") {
  int compared = 0;
  for (const auto& recorded : support::golden("advantages")) {
    const recorded_advantages golden(recorded);
    if (golden.steps > 1) continue;
    const std::vector<tempflow::named_reward> one{{.name = "reward", .values = golden.rewards}};
    const auto computed =
        tempflow::combined_advantages(one, golden.prompts, {.each = golden.options, .normalize_sum = false});
    const auto trimmed_by_none =
        golden.options.scale == tempflow::advantage_scale::group_std
            ? tempflow::trimmed_advantages(golden.rewards, golden.prompts, 0, golden.options)
            : computed.advantages;
    for (std::size_t i = 0; i < golden.rewards.size(); ++i) {
      golden.check(computed.advantages.values[i], i);
      golden.check(trimmed_by_none.values[i], i);
    }
    ++compared;
  }
  CHECK(compared == 4);
}

TEST_CASE("samples x steps are one call with a group for each prompt and step", "[golden]") {
  int compared = 0;
  for (const auto& recorded : support::golden("advantages")) {
    const recorded_advantages golden(recorded);
    if (golden.options.scale == tempflow::advantage_scale::global_std && golden.steps > 1)
      continue;  // spans steps here
    std::vector<std::int64_t> groups;
    for (const std::int64_t prompt : golden.prompts) {
      for (std::size_t t = 0; t < golden.steps; ++t)
        groups.push_back(prompt * 1000 + static_cast<std::int64_t>(t));
    }
    const auto computed = tempflow::group_advantages(golden.rewards, groups, golden.options);
    for (std::size_t i = 0; i < groups.size(); ++i) golden.check(computed.values[i], i);
    ++compared;
  }
  CHECK(compared == 5);
}
