// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What is left out of a rollout is in no batch and in no mean, and several rollouts make one update.

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "support/catch.hpp"
#include "support/models.hpp"
#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/advantage/teaching_nothing.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/fused_rewards.hpp"
#include "tempflow/rollout/joint_minibatches.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/rescore.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/rollout/tree_plan.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using support::row_model;
using tempflow::batch_buffer;
using tempflow::index_t;
using tempflow::minibatch_options;
using tempflow::minibatches;
using tempflow::not_finite_rewards;
using tempflow::trajectories;

using list = std::vector<index_t>;

namespace {

const tempflow::cpu_backend cpu{1};
const list prompts{6, 1};

template <class Plan>
trajectories<float> roll_out(row_model<float>& model, index_t steps, const Plan& plan,
                             const list& of = prompts) {
  return tempflow::roll_out(cpu, model, of,
                            tempflow::make_chain(tempflow::sd3_sigmas(steps), tempflow::flow_sde{0.7}), plan,
                            {.seed = 8});
}

// Rows of all batches, ascending.
template <class Range>
list rows_of(Range&& batches) {
  list rows;
  for (const auto& batch : batches) rows.insert(rows.end(), batch.rows.begin(), batch.rows.end());
  std::ranges::sort(rows);
  return rows;
}

// Loss and gradient of a batch, with a KL to a reference that stands still.
double loss_of(row_model<float>& model, const tempflow::minibatch<float>& batch,
               std::vector<std::vector<float>>* gradient_of_states = nullptr) {
  batch_buffer<float> v(batch.x.rows(), batch.x.columns()), zero(batch.x.rows(), batch.x.columns()),
      gradient(batch.x.rows(), batch.x.columns());
  model.velocity(batch.x, batch.sigma, batch.prompt, v.view());
  const auto total =
      tempflow::policy_loss(cpu, batch, v.view(), zero, tempflow::clipped_grpo{.kl_beta = 0.5}, gradient);
  CHECK(total.max_abs_log_ratio == 0);
  CHECK(total.non_finite_rows == 0);
  for (std::size_t s = 0; s < batch.states.size() && gradient_of_states != nullptr; ++s) {
    const float* const row = gradient.view().row(static_cast<index_t>(s));
    (*gradient_of_states)[static_cast<std::size_t>(batch.states[s])].assign(row, row + batch.x.columns());
  }
  return total.loss;
}

}  // namespace

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
                  {.size = 2, .leave_out = {.advantages = tempflow::teaching_nothing(advantages, groups)}});
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
    model.velocity(batch.x, batch.sigma, batch.prompt, v.view());
    tempflow::policy_loss_rows(cpu, batch, v.view(), zero, tempflow::clipped_grpo{.kl_beta = 0.5},
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
  const auto idle = tempflow::teaching_nothing(advantages, groups);
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

namespace {

// Two resolutions: 36 rows of 24 elements on a chain of five steps, 72 rows of 96 on one of seven.
struct two_resolutions {
  row_model<float> small_model{24}, large_model{96};
  trajectories<float> small = roll_out(small_model, 5, tempflow::flow_plan{.samples_per_prompt = 9}, {4}),
                      large = roll_out(large_model, 7, tempflow::flow_plan{.samples_per_prompt = 6});
  std::vector<double> small_advantages = support::numbers(1).take(9),
                      large_advantages = support::numbers(2).take(12),
                      small_weights = {0.5, 1.25, 0.75, 2, 1},
                      large_weights = {1, 0.25, 1.5, 0.6, 3, 0.9, 1.1};

  tempflow::minibatch_range<float> of_small(const minibatch_options& options) {
    return minibatches(small, small_advantages, small_weights, options);
  }
  tempflow::minibatch_range<float> of_large(const minibatch_options& options) {
    return minibatches(large, large_advantages, large_weights, options);
  }
};

}  // namespace

TEST_CASE("rollouts of two resolutions make one update with one mean", "[joint]") {
  two_resolutions both;
  REQUIRE(both.small.rows() == 36);
  REQUIRE(both.large.rows() == 72);
  double alone = 0;
  for (const auto& batch : both.of_small({})) alone += 36 * loss_of(both.small_model, batch);
  for (const auto& batch : both.of_large({})) alone += 72 * loss_of(both.large_model, batch);

  double loss = 0;
  list parts, sizes, completed;
  auto joint = tempflow::joint_minibatches(both.of_small({.size = 20}), both.of_large({.size = 30}));
  for (const auto& batch : joint) {
    CHECK(batch.mean_over == 108);
    CHECK(batch.x.columns() == (batch.part == 0 ? 24 : 96));
    loss += loss_of(batch.part == 0 ? both.small_model : both.large_model, batch);
    parts.push_back(batch.part), sizes.push_back(batch.x.rows());
    completed.push_back(batch.completes_update ? 1 : 0);
  }
  CHECK(joint.size() == 5);
  CHECK(parts == list{0, 0, 1, 1, 1});
  CHECK(sizes == list{20, 16, 30, 30, 12});
  CHECK(completed == list{0, 0, 0, 0, 1});
  CHECK(loss == Approx(alone / 108).epsilon(1e-12));
}

TEST_CASE("each update of joint rollouts has its share of all of them", "[joint]") {
  two_resolutions both;
  const auto options = [](index_t size) { return minibatch_options{.size = size, .updates = 2}; };
  auto left = options(40);
  left.leave_out.samples = {0};  // six rows of the first update
  std::vector<tempflow::minibatch_range<float>> ranges{both.of_small(options(20)), both.of_large(left)};
  list parts, totals, completed;
  std::vector<std::set<index_t>> rows(2);
  for (const auto& batch : tempflow::joint_minibatches(ranges)) {
    parts.push_back(batch.part), totals.push_back(batch.mean_over);
    completed.push_back(batch.completes_update ? 1 : 0);
    rows[static_cast<std::size_t>(batch.part)].insert(batch.rows.begin(), batch.rows.end());
  }
  // 9 initial noises of 4 rows are 5 and 4; 2 prompts' 6 of 6 rows are 3 and 3 each.
  CHECK(parts == list{0, 1, 0, 1});
  CHECK(totals == list{20 + 30, 20 + 30, 16 + 36, 16 + 36});
  CHECK(completed == list{0, 1, 0, 1});
  CHECK(rows[0].size() == 36);
  CHECK(rows[1].size() == 66);
}

TEST_CASE("a part of a joint update may be left without states, and its skipped rows still count",
          "[joint]") {
  two_resolutions both;
  std::ranges::fill(both.large_advantages, 0.0);
  const auto joint_batches = [&](const minibatch_options& of_large) {
    list totals, completed;
    for (const auto& batch :
         tempflow::joint_minibatches(both.of_small({.size = 18}), both.of_large(of_large)))
      totals.push_back(batch.mean_over), completed.push_back(batch.completes_update ? 1 : 0);
    CHECK(completed == list{0, 1});
    return totals;
  };
  CHECK(joint_batches({.skip_zeros = true}) == list{108, 108});
  const auto groups = both.large.prompt_groups();
  const auto idle = tempflow::teaching_nothing(std::span<const double>(both.large_advantages), groups);
  CHECK(joint_batches({.leave_out = {.advantages = idle}}) == list{36, 36});
}

TEST_CASE("joint rollouts are rescored part by part", "[joint]") {
  two_resolutions both;
  both.small_model.batch_effect = both.large_model.batch_effect = 0.5;
  auto joint = tempflow::joint_minibatches(both.of_small({.size = 7}), both.of_large({.size = 11}));
  const auto drift = tempflow::rescore(cpu, both.small_model, joint.parts()[0]);
  CHECK(drift.rows == 36);
  CHECK(drift.max_abs > 0);
  tempflow::rescore(cpu, both.large_model, joint.parts()[1]);
  for (const auto& batch : joint)  // the ratio is 1, or loss_of says so
    loss_of(batch.part == 0 ? both.small_model : both.large_model, batch);
}

TEST_CASE("a pass over a join is one over each range that it was made of", "[joint][bad_input]") {
  row_model<float> model(8);
  const tempflow::branch_plan drawn_again{.redraw = true};
  auto small = roll_out(model, 5, drawn_again, {3}), large = roll_out(model, 6, drawn_again);
  const auto ranges_of = [](auto& rollout) {
    const auto samples = static_cast<std::size_t>(rollout.samples().rows());
    return minibatches(rollout, std::vector<double>(samples, 1.0),
                       std::vector<double>(static_cast<std::size_t>(rollout.steps().steps()), 1.0));
  };
  auto of_small = ranges_of(small), of_large = ranges_of(large);
  auto joint = tempflow::joint_minibatches(of_small, of_large);
  CHECK(rows_of(joint).size() == static_cast<std::size_t>(small.rows() + large.rows()));
  const auto second = MessageMatches(ContainsSubstring("second pass"));
  CHECK_THROWS_MATCHES(of_small.begin(), tempflow::value_error, second);
  CHECK_THROWS_MATCHES(of_large.begin(), tempflow::value_error, second);
  CHECK_THROWS_MATCHES(tempflow::joint_minibatches(of_small, of_large).begin(), tempflow::value_error,
                       second);
  CHECK_NOTHROW(ranges_of(small).begin());  // a range of its own
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

TEST_CASE("joint rollouts agree on their updates, or an error names both numbers", "[joint][bad_input]") {
  two_resolutions both;
  CHECK_THROWS_MATCHES(
      tempflow::joint_minibatches(both.of_small({.updates = 2}), both.of_large({.updates = 3})),
      tempflow::value_error,
      MessageMatches(ContainsSubstring("part 1 has updates = 3") && ContainsSubstring("part 0 has 2")));
  CHECK_THROWS_MATCHES(tempflow::joint_minibatches(std::vector<tempflow::minibatch_range<float>>{}),
                       tempflow::value_error, MessageMatches(ContainsSubstring("no minibatches")));
}
