// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Minibatches cover a rollout's rows once, and rescoring makes the ratio 1 for models that feel their batch.

#include "tempflow/rollout/minibatches.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/models.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/rollout/branch_rollout.hpp"
#include "tempflow/rollout/rescore.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using support::row_model;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::float16;
using tempflow::index_t;
using tempflow::minibatch_options;
using tempflow::noise_key;
using tempflow::trajectories;

namespace {

constexpr index_t dimension = 40;
const std::vector<index_t> prompts{6, 1};
const tempflow::cpu_backend cpu{2};

template <class T>
trajectories<T> roll_out(row_model<T>& model) {
  return tempflow::branch_rollout(cpu, model, prompts,
                                  tempflow::make_chain(tempflow::sd3_sigmas(5), tempflow::flow_sde{0.7}),
                                  {.seeds_per_prompt = 2, .explorations = 3}, {.seed = 8});  // 48 rows
}

struct training_data {
  row_model<float> model{dimension};
  trajectories<float> rollout = roll_out(model);
  std::vector<double> advantages = support::numbers(1).take(rollout.samples().rows()),
                      weights = support::numbers(2).take(rollout.steps().steps());

  std::vector<index_t> order(const minibatch_options& options) {
    std::vector<index_t> rows;
    for (const auto& batch : tempflow::minibatches(rollout, advantages, weights, options)) {
      rows.insert(rows.end(), batch.rows.begin(), batch.rows.end());
    }
    return rows;
  }
};

// Largest |log-ratio| of the batches, with the model that made the rollout.
template <class T>
double largest_log_ratio(row_model<T>& model, tempflow::minibatch_range<T>& batches) {
  tempflow::policy_statistics total;
  for (const auto& batch : batches) {
    batch_buffer<T> v(batch.x.rows(), dimension);
    model.velocity(batch.x, batch.sigma, batch.prompt, v.view());
    total += tempflow::policy_loss(cpu, batch, v.view(), {}, tempflow::clipped_grpo{},
                                   tempflow::batch_view<float>());
  }
  return total.max_abs_log_ratio;
}

}  // namespace

TEST_CASE("minibatches hold each row once, in the rollout's order or a drawn one", "[minibatches]") {
  training_data data;
  const auto rows = tempflow::step_range(0, 48);
  for (const index_t size : {1, 7, 48, 1000}) {
    CHECK(data.order({.size = size}) == rows);
    auto shuffled = data.order({.size = size, .shuffle = noise_key{.seed = 1}});
    CHECK(shuffled != rows);
    std::ranges::sort(shuffled);
    CHECK(shuffled == rows);
  }
}

TEST_CASE("a drawn order depends on its key alone, and on every part of it", "[minibatches]") {
  training_data data;
  const auto order = data.order({.size = 7, .shuffle = noise_key{.seed = 1, .update = 2}});
  CHECK(data.order({.size = 48, .shuffle = noise_key{.seed = 1, .update = 2}}) == order);
  CHECK(data.order({.size = 7, .shuffle = noise_key{.seed = 2, .update = 2}}) != order);
  CHECK(data.order({.size = 7, .shuffle = noise_key{.seed = 1, .update = 3}}) != order);
}

TEST_CASE("every row comes first equally often in drawn orders", "[minibatches]") {
  training_data data;
  std::vector<int> first(48);
  for (unsigned update = 0; update < 4800; ++update) {
    auto batches = tempflow::minibatches(data.rollout, data.advantages, data.weights,
                                         {.size = 1, .shuffle = noise_key{.seed = 3, .update = update}});
    ++first[static_cast<std::size_t>((*batches.begin()).rows[0])];
  }
  double chi_squared = 0;
  for (const int count : first) chi_squared += (count - 100.0) * (count - 100.0) / 100;
  CHECK(chi_squared < 82.7);  // 47 degrees of freedom: exceeded once in a thousand
}

TEST_CASE("a minibatch holds what its rows are made of", "[minibatches]") {
  training_data data;
  const auto& rollout = data.rollout;
  int wrong = 0;
  for (const auto& batch : tempflow::minibatches(data.rollout, data.advantages, data.weights,
                                                 {.size = 10, .shuffle = noise_key{.seed = 1}})) {
    for (index_t i = 0; i < batch.x.rows(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      const auto& row = rollout.row(batch.rows[at]);
      const auto sample = static_cast<std::size_t>(row.sample), step = static_cast<std::size_t>(row.step);
      wrong +=
          support::same_bits(batch.x.slice(i, 1), rollout.states().slice(row.x, 1)) &&
                  support::same_bits(batch.y.slice(i, 1), rollout.states().slice(row.y, 1)) &&
                  batch.transitions[i] == rollout.steps()[row.step] &&
                  batch.sigma[at] == rollout.steps().sigmas()[step] &&
                  batch.old_log_probs[at] == rollout.log_probs()[static_cast<std::size_t>(batch.rows[at])] &&
                  batch.advantages[at] == data.advantages[sample] && batch.weights[i] == data.weights[step] &&
                  batch.prompt[at] == rollout.identities()[sample].prompt &&
                  batch.convention == rollout.convention()
              ? 0
              : 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("rows are split evenly over the updates, and losses are means over an update's rows",
          "[minibatches]") {
  training_data data;
  auto batches = tempflow::minibatches(data.rollout, data.advantages, data.weights,
                                       {.size = 10, .updates = 3, .shuffle = tempflow::noise_key{}});
  std::vector<index_t> sizes, completed;
  for (const auto& batch : batches) {
    CHECK(batch.mean_over == 16);
    sizes.push_back(batch.x.rows());
    if (batch.completes_update) completed.push_back(static_cast<index_t>(sizes.size()));
  }
  CHECK(sizes == std::vector<index_t>{10, 6, 10, 6, 10, 6});
  CHECK(completed == std::vector<index_t>{2, 4, 6});
  CHECK(batches.size() == 6);
}

TEST_CASE("sizes that do not fit a rollout are errors that name both", "[minibatches][bad_input]") {
  training_data data;
  const auto cut = [&](std::size_t advantages, std::size_t weights, const minibatch_options& options) {
    return [&data, advantages, weights, options] {
      const std::vector<double> a(advantages), w(weights);
      tempflow::minibatches(data.rollout, a, w, options);
    };
  };
  CHECK_THROWS_MATCHES(cut(47, 5, {})(), tempflow::shape_error,
                       MessageMatches(ContainsSubstring("advantages has 47 entries, expected 48")));
  CHECK_THROWS_MATCHES(cut(48, 4, {})(), tempflow::shape_error,
                       MessageMatches(ContainsSubstring("weights has 4 entries, expected 5")));
  CHECK_THROWS_MATCHES(cut(48, 5, {.size = 0})(), tempflow::value_error,
                       MessageMatches(ContainsSubstring("size = 0")));
  CHECK_THROWS_MATCHES(cut(48, 5, {.updates = 0})(), tempflow::value_error,
                       MessageMatches(ContainsSubstring("updates = 0")));
  CHECK_THROWS_MATCHES(cut(48, 5, {.updates = 49})(), tempflow::value_error,
                       MessageMatches(ContainsSubstring("updates = 49") && ContainsSubstring("48 rows")));
}

TEST_CASE(
    "a model whose rows do not feel their batch is on policy in any minibatch, and rescoring changes nothing",
    "[rescore]") {
  training_data data;
  auto batches = tempflow::minibatches(data.rollout, data.advantages, data.weights,
                                       {.size = 7, .shuffle = noise_key{.seed = 1}});
  CHECK(largest_log_ratio(data.model, batches) == 0.0);
  const auto drift = tempflow::rescore(cpu, data.model, batches);
  CHECK(drift.rows == 48);
  CHECK(drift.max_abs == 0.0);
  CHECK(drift.mean_abs == 0.0);
}

TEMPLATE_TEST_CASE("after rescoring the ratio is exactly 1 for a model whose rows feel their batch",
                   "[rescore]", float, double, bfloat16, float16) {
  row_model<TestType> model(dimension);
  model.batch_effect = 0.5;
  auto rollout = roll_out(model);
  const std::vector<double> before(rollout.log_probs().begin(), rollout.log_probs().end());
  const std::vector<double> advantages(48, 1.0), weights(5, 1.0);
  auto batches = tempflow::minibatches(rollout, advantages, weights,
                                       {.size = 7, .updates = 2, .shuffle = noise_key{.seed = 1}});
  const double off = largest_log_ratio(model, batches);
  REQUIRE(off > 1e-4);

  const auto drift = tempflow::rescore(cpu, model, batches);
  CHECK(largest_log_ratio(model, batches) == 0.0);

  // The drift is the distance between old and new log-probs.
  double largest = 0, mean = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const double change = std::abs(rollout.log_probs()[i] - before[i]);
    largest = std::max(largest, change);
    mean += change / 48;
  }
  CHECK(drift.rows == 48);
  CHECK(drift.max_abs == largest);
  CHECK(drift.max_abs == off);
  CHECK(drift.mean_abs == Approx(mean).epsilon(1e-12));
}
