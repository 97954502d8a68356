// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Several rollouts make one update.

#include <algorithm>
#include <set>
#include <vector>

#include "support/catch.hpp"
#include "support/rollouts.hpp"
#include "tempflow/advantage/dead_group_samples.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/joint_minibatches.hpp"
#include "tempflow/rollout/rescore.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using support::list;
using support::loss_of;
using support::roll_out;
using support::row_model;
using support::rows_of;
using tempflow::index_t;
using tempflow::minibatch_options;
using tempflow::minibatches;
using tempflow::trajectories;

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
  const auto idle = tempflow::dead_group_samples(std::span<const double>(both.large_advantages), groups);
  CHECK(joint_batches({.leave_out = {.advantages = idle}}) == list{36, 36});
}

TEST_CASE("joint rollouts are rescored part by part", "[joint]") {
  two_resolutions both;
  both.small_model.batch_effect = both.large_model.batch_effect = 0.5;
  auto joint = tempflow::joint_minibatches(both.of_small({.size = 7}), both.of_large({.size = 11}));
  const auto drift = tempflow::rescore(support::cpu, both.small_model, joint.parts()[0]);
  CHECK(drift.rows == 36);
  CHECK(drift.max_abs > 0);
  tempflow::rescore(support::cpu, both.large_model, joint.parts()[1]);
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

TEST_CASE("joint rollouts agree on their updates, or an error names both numbers", "[joint][bad_input]") {
  two_resolutions both;
  CHECK_THROWS_MATCHES(
      tempflow::joint_minibatches(both.of_small({.updates = 2}), both.of_large({.updates = 3})),
      tempflow::value_error,
      MessageMatches(ContainsSubstring("part 1 has updates = 3") && ContainsSubstring("part 0 has 2")));
  CHECK_THROWS_MATCHES(tempflow::joint_minibatches(std::vector<tempflow::minibatch_range<float>>{}),
                       tempflow::value_error, MessageMatches(ContainsSubstring("no minibatches")));
}
