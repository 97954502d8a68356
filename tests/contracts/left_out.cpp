// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What is left out of a rollout is in no batch and in no mean.

#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/rollouts.hpp"
#include "tempflow/advantage/dead_group_samples.hpp"
#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/fused_rewards.hpp"
#include "tempflow/rollout/tree_plan.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using support::list;
using support::loss_of;
using support::roll_out;
using support::row_model;
using support::rows_of;
using tempflow::batch_buffer;
using tempflow::index_t;
using tempflow::minibatch_options;
using tempflow::minibatches;
using tempflow::not_finite_rewards;

TEST_CASE("one reward of 24 that is not finite and a dead group cost their rows alone", "[left_out]") {
  row_model<float> model(40);
  // 2 prompts of 2 seeds and 6 explorations of one step: 24 rows, 4 groups of 6 that leave a state each.
  auto rollout = roll_out(
      model, 5, tempflow::branch_plan{.seeds_per_prompt = 2, .explorations = 6, .branch_steps = {1}});
  REQUIRE(rollout.rows() == 24);
  auto rewards = support::numbers(1).take(24);
  rewards[7] = std::numeric_limits<double>::quiet_NaN();
  for (std::size_t i = 12; i < 18; ++i) rewards[i] = 0.25;
  const std::vector<double> weights{0.5, 1.25, 1, 1, 1};
  const auto groups = rollout.seed_groups();

  const auto advantages =
      tempflow::group_advantages(rewards, groups, {.not_finite = not_finite_rewards::exclude});
  auto batches =
      minibatches(rollout, advantages, weights,
                  {.size = 2, .leave_out = {.advantages = tempflow::dead_group_samples(advantages, groups)}});
  CHECK(batches.left_out_rows() == 7);
  CHECK(batches.left_out_states() == 1);
  CHECK(batches.skipped_rows() == 0);
  list expected;
  for (index_t i = 0; i < 24; ++i) {
    if (i != 7 && (i < 12 || i >= 18)) expected.push_back(i);
  }
  CHECK(rows_of(batches) == expected);

  std::vector<std::vector<float>> kept(static_cast<std::size_t>(rollout.states().rows())), all = kept;
  double loss = 0;
  index_t completed = 0;
  for (const auto& batch : batches) {
    CHECK(batch.mean_over == 17);
    loss += loss_of(model, batch, &kept);
    completed += batch.completes_update ? 1 : 0;
  }
  CHECK(completed == 1);
  // The excluded sample's siblings lose one row; the other states' gradients are over 17 rows instead of 24.
  index_t compared = 0;
  double sum = 0;
  for (const auto& batch : minibatches(rollout, advantages.values, weights)) {
    CHECK(batch.mean_over == 24);
    std::vector<tempflow::policy_row> each(24);
    batch_buffer<float> v(batch.x.rows(), 40), zero(batch.x.rows(), 40);
    model.velocity(batch.x, batch.sigma, batch.prompts, v.view());
    tempflow::policy_loss_rows(support::cpu, batch, v.view(), zero, tempflow::clipped_grpo{.kl_beta = 0.5},
                               tempflow::batch_view<float>(), each);
    for (std::size_t i = 0; i < 24; ++i) {
      if (std::ranges::binary_search(expected, batch.rows[i])) sum += each[i].surrogate + 0.5 * each[i].kl;
    }
    loss_of(model, batch, &all);
  }
  CHECK(loss == Approx(sum / 17).epsilon(1e-12));
  for (std::size_t s = 0; s < kept.size(); ++s) {
    const index_t state = static_cast<index_t>(s);
    if (kept[s].empty() || state == rollout.row(7).state) continue;
    for (std::size_t e = 0; e < 40; ++e) {
      CHECK(kept[s][e] == Approx(all[s][e] * 24.0 / 17).epsilon(1e-6).margin(1e-9));
    }
    ++compared;
  }
  CHECK(compared == 2);
  CHECK(kept[static_cast<std::size_t>(rollout.row(12).state)].empty());
}

TEST_CASE("a sample whose reward is excluded is left out without a word", "[left_out]") {
  row_model<float> model(8);
  auto rollout = roll_out(model, 5, tempflow::flow_plan{.samples_per_prompt = 6});
  REQUIRE(rollout.rows() == 48);  // 12 samples of 4 rows
  auto rewards = support::numbers(1).take(12);
  rewards[7] = std::numeric_limits<double>::infinity();
  const auto advantages = tempflow::group_advantages(rewards, rollout.prompt_groups(),
                                                     {.not_finite = not_finite_rewards::exclude});
  const std::vector<double> weights(5, 1.0);
  auto batches = minibatches(rollout, advantages, weights);
  CHECK(batches.left_out_rows() == 4);
  for (const auto& batch : batches) {
    CHECK(batch.mean_over == 44);
    for (const index_t row : batch.rows) CHECK(rollout.row(row).sample != 7);
  }
  // With what is left out besides, which the caller's options keep.
  const minibatch_options options{.leave_out = {.advantages = {0}, .samples = {1}}};
  CHECK(minibatches(rollout, advantages, weights, options).left_out_rows() == 12);
  CHECK(options.leave_out.advantages == list{0});
  CHECK(minibatches(rollout, advantages.values, weights).left_out_rows() == 0);
}

TEST_CASE("dead groups of rows are rows, not the samples of these numbers", "[left_out]") {
  row_model<float> model(8);
  auto rollout = roll_out(model, 5, tempflow::tree_plan{.split_steps = {0, 2}});
  REQUIRE(rollout.samples().rows() == 8);
  REQUIRE(rollout.rows() == 24);
  // Equal rewards within a prompt: those of the first, and the rows that led to them, teach nothing.
  const std::vector<double> rewards{2, 2, 2, 2, 1, 2, 5, 7}, weights(5, 1.0);
  const auto groups = rollout.depth_groups();
  const auto advantages = tempflow::group_advantages(tempflow::fused_rewards(rollout, rewards), groups);
  const auto idle = tempflow::dead_group_samples(advantages, groups);
  list live;
  for (index_t i = 0; i < rollout.rows(); ++i) {
    if (rollout.row(i).sample >= 4) live.push_back(i);
  }
  REQUIRE(idle.size() == 12);
  auto batches = minibatches(rollout, advantages, weights,
                             {.advantages = tempflow::advantage_of::rows, .leave_out = {.advantages = idle}});
  CHECK(batches.left_out_rows() == 12);
  CHECK(rows_of(batches) == live);
}

TEST_CASE("listed rows and states are left out, and counted once", "[left_out]") {
  row_model<float> model(8);
  auto rollout = roll_out(model, 5, tempflow::branch_plan{.seeds_per_prompt = 1, .explorations = 3});
  REQUIRE(rollout.rows() == 24);  // 4 steps, 2 prompts, 3 branches
  const std::vector<double> advantages = support::numbers(1).take(24), weights(5, 1.0);
  const index_t state = rollout.row(6).state;
  auto batches = minibatches(rollout, advantages, weights,
                             {.leave_out = {.samples = {0}, .rows = {0, 7, 23, 23}, .states = {state}}});
  list expected;
  for (index_t i = 0; i < 24; ++i) {
    if (i != 0 && i != 23 && (i < 6 || i > 8)) expected.push_back(i);
  }
  CHECK(rows_of(batches) == expected);
  CHECK((*batches.begin()).mean_over == 19);
  CHECK(batches.left_out_rows() == 5);
  CHECK(batches.left_out_states() == 1);
}

TEST_CASE("skipped rows count in means, rows that are left out do not", "[left_out]") {
  row_model<float> model(8);
  auto rollout = roll_out(model, 5, tempflow::branch_plan{.seeds_per_prompt = 1, .explorations = 3});
  std::vector<double> advantages(24, 1.0);
  for (std::size_t i = 0; i < 5; ++i) advantages[i] = 0;
  auto batches = minibatches(rollout, advantages, std::vector<double>(5, 1.0),
                             {.skip_zeros = true, .leave_out = {.samples = {0, 1, 2, 9}}});
  CHECK((*batches.begin()).mean_over == 20);
  CHECK(rows_of(batches).size() == 18);
  CHECK(batches.skipped_rows() == 2);
  CHECK(batches.skipped_states() == 0);
  CHECK(batches.left_out_states() == 1);
}

TEST_CASE("an update whose rows are all left out has no batch, and the others stay as they were",
          "[left_out]") {
  row_model<float> model(8);
  auto rollout = roll_out(model, 5, tempflow::flow_plan{.samples_per_prompt = 2}, {3});
  REQUIRE(rollout.rows() == 8);
  const std::vector<double> advantages{1, -1}, weights(5, 1.0);
  const minibatch_options both{.updates = 2}, one{.updates = 2, .leave_out = {.samples = {1}}};
  auto all = minibatches(rollout, advantages, weights, both);
  auto some = minibatches(rollout, advantages, weights, one);
  CHECK(all.size() == 2);
  REQUIRE(some.size() == 1);
  const auto batch = *some.begin();
  CHECK(batch.completes_update);
  CHECK(batch.mean_over == 4);
  CHECK(rows_of(some) == list{0, 2, 4, 6});
  CHECK(minibatches(rollout, advantages, weights, {.leave_out = {.samples = {0, 1}}}).size() == 0);
}

TEST_CASE("a row of a tree is left out when all its samples are", "[left_out]") {
  row_model<float> model(8);
  auto rollout = roll_out(model, 3, tempflow::tree_plan{.split_steps = {0, 1}}, {3});
  REQUIRE(rollout.rows() == 6);  // rows 0 and 1 lead to samples 0, 1 and 2, 3; rows 2 to 5 to one each
  const std::vector<double> advantages(6, 1.0), weights(3, 1.0);
  const auto left = [&](const list& samples) {
    return rows_of(
        minibatches(rollout, advantages, weights,
                    {.advantages = tempflow::advantage_of::rows, .leave_out = {.samples = samples}}));
  };
  CHECK(left({0}) == list{0, 1, 3, 4, 5});
  CHECK(left({1, 2}) == list{0, 1, 2, 5});
  CHECK(left({1, 0, 1}) == list{1, 4, 5});
  CHECK(left({0, 1, 2, 3}).empty());
}

TEST_CASE("a tree's rows are credited with the samples that have rewards", "[left_out]") {
  row_model<float> model(8);
  auto rollout = roll_out(model, 3, tempflow::tree_plan{.split_steps = {0, 1}}, {3});
  const double none = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> weights(3, 1.0);
  for (const auto fusion : {tempflow::reward_fusion::mean, tempflow::reward_fusion::path_probability}) {
    const auto fused = [&](const std::vector<double>& rewards) {
      return tempflow::fused_rewards(rollout, rewards, fusion, not_finite_rewards::exclude);
    };
    CHECK(fused({1, 2, 4, 9}) == tempflow::fused_rewards(rollout, {{1, 2, 4, 9}}, fusion));
    const auto one = fused({none, 2, 4, 9});
    CHECK(one[0] == Approx(2).epsilon(1e-15));
    CHECK(one[1] == tempflow::fused_rewards(rollout, {{1, 2, 4, 9}}, fusion)[1]);
    CHECK_FALSE(tempflow::is_finite(one[2]));
    CHECK(std::vector<double>(one.begin() + 3, one.end()) == std::vector<double>{2, 4, 9});
    const auto two = fused({none, none, 4, 9});
    CHECK_FALSE(tempflow::is_finite(two[0]));
    CHECK(two[1] == one[1]);
    CHECK_THROWS_MATCHES(tempflow::fused_rewards(rollout, {{1, none, 4, 9}}, fusion), tempflow::value_error,
                         MessageMatches(ContainsSubstring("rewards[1] = nan")));

    // Rewards to batches, without a word about the tree.
    const auto advantages =
        tempflow::group_advantages(one, rollout.depth_groups(), {.not_finite = not_finite_rewards::exclude});
    CHECK(advantages.excluded == list{2});
    auto batches = minibatches(rollout, advantages, weights, {.advantages = tempflow::advantage_of::rows});
    CHECK(rows_of(batches) == list{0, 1, 3, 4, 5});
    CHECK(batches.left_out_rows() == 1);
    CHECK((*batches.begin()).mean_over == 5);
  }
}

TEST_CASE("what is to be left out and is not there is an error that names it", "[left_out][bad_input]") {
  row_model<float> model(8);
  auto rollout = roll_out(model, 5, tempflow::branch_plan{.seeds_per_prompt = 1, .explorations = 3});
  const std::vector<double> advantages(24), weights(5);
  const auto cut = [&](const tempflow::left_out& what) {
    minibatches(rollout, advantages, weights, {.leave_out = what});
  };
  CHECK_THROWS_MATCHES(
      cut({.samples = {1, 24}}), tempflow::value_error,
      MessageMatches(ContainsSubstring("leave_out.samples[1] = 24") && ContainsSubstring("24 samples")));
  CHECK_THROWS_MATCHES(cut({.rows = {-1}}), tempflow::value_error,
                       MessageMatches(ContainsSubstring("leave_out.rows[0] = -1")));
  CHECK_THROWS_MATCHES(cut({.states = {1000}}), tempflow::value_error,
                       MessageMatches(ContainsSubstring("leave_out.states[0] = 1000")));
  CHECK_THROWS_MATCHES(cut({.advantages = {3, 24}}), tempflow::value_error,
                       MessageMatches(ContainsSubstring("leave_out.advantages[1] = 24")));
}

TEST_CASE("a rollout that was released has no minibatches, and the error says why", "[bad_input]") {
  row_model<float> model(8);
  auto rollout = roll_out(model, 5, tempflow::flow_plan{.samples_per_prompt = 4});
  CHECK_FALSE(rollout.released());
  const std::vector<double> advantages(8, 1.0), weights(5, 1.0);
  const auto parts = std::move(rollout).release();
  CHECK(rollout.released());
  CHECK(rollout.rows() == 0);
  CHECK_THROWS_MATCHES(minibatches(rollout, advantages, weights), tempflow::value_error,
                       MessageMatches(ContainsSubstring("the rollout was released")));
}
