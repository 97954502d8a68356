// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Minibatches cover a rollout's states once, each with all its rows, and rescoring makes the ratio 1 for models
// that feel their batch.

#include "tempflow/rollout/minibatches.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/models.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/fused_rewards.hpp"
#include "tempflow/rollout/rescore.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/rollout/tree_plan.hpp"

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
  return tempflow::roll_out(cpu, model, prompts,
                            tempflow::make_chain(tempflow::sd3_sigmas(5), tempflow::flow_sde{0.7}),
                            tempflow::branch_plan{.seeds_per_prompt = 2, .explorations = 3},
                            {.seed = 8});  // 48 rows that leave 16 states
}

struct training_data {
  row_model<float> model{dimension};
  trajectories<float> rollout = roll_out(model);
  std::vector<double> advantages = support::numbers(1).take(rollout.samples().rows()),
                      weights = support::numbers(2).take(rollout.steps().steps());

  std::vector<index_t> order(const minibatch_options& options) {
    std::vector<index_t> states;
    for (const auto& batch : tempflow::minibatches(rollout, advantages, weights, options)) {
      states.insert(states.end(), batch.states.begin(), batch.states.end());
    }
    return states;
  }
};

// Largest |log-ratio| of the batches, with the model that made the rollout.
template <class T>
double largest_log_ratio(row_model<T>& model, tempflow::minibatch_range<T>& batches) {
  tempflow::policy_statistics total;
  for (const auto& batch : batches) {
    batch_buffer<T> v(batch.x.rows(), dimension);
    model.velocity(batch.x, batch.sigma, batch.prompts, v.view());
    total += tempflow::policy_loss(cpu, batch, v.view(), {}, tempflow::clipped_grpo{},
                                   tempflow::batch_view<float>());
  }
  return total.max_abs_log_ratio;
}

}  // namespace

TEST_CASE("minibatches hold each state once, in the rollout's order or a drawn one", "[minibatches]") {
  training_data data;
  std::vector<index_t> states;  // in the order of the rows that leave them, three each
  for (index_t i = 0; i < 48; i += 3) states.push_back(data.rollout.row(i).state);
  for (const index_t size : {1, 7, 16, 1000}) {
    CHECK(data.order({.size = size}) == states);
    auto shuffled = data.order({.size = size, .shuffle = noise_key{.seed = 1}});
    CHECK(shuffled != states);
    std::ranges::sort(shuffled);
    CHECK(shuffled == states);
  }
}

TEST_CASE("a drawn order depends on its key alone, and on every part of it", "[minibatches]") {
  training_data data;
  const auto order = data.order({.size = 7, .shuffle = noise_key{.seed = 1, .update = 2}});
  CHECK(data.order({.size = 48, .shuffle = noise_key{.seed = 1, .update = 2}}) == order);
  CHECK(data.order({.size = 7, .shuffle = noise_key{.seed = 2, .update = 2}}) != order);
  CHECK(data.order({.size = 7, .shuffle = noise_key{.seed = 1, .update = 3}}) != order);
}

TEST_CASE("every state comes first equally often in drawn orders", "[minibatches]") {
  training_data data;
  std::vector<int> first(static_cast<std::size_t>(data.rollout.states().rows()));
  for (unsigned update = 0; update < 3200; ++update) {
    auto batches = tempflow::minibatches(data.rollout, data.advantages, data.weights,
                                         {.size = 1, .shuffle = noise_key{.seed = 3, .update = update}});
    ++first[static_cast<std::size_t>((*batches.begin()).states[0])];
  }
  double chi_squared = 0;
  for (const int count : first) chi_squared += count == 0 ? 0 : (count - 200.0) * (count - 200.0) / 200;
  CHECK(std::ranges::count(first, 0) == data.rollout.states().rows() - 16);
  CHECK(chi_squared < 37.7);  // 15 degrees of freedom: exceeded once in a thousand
}

TEST_CASE("a minibatch holds what its states and rows are made of", "[minibatches]") {
  training_data data;
  const auto& rollout = data.rollout;
  int wrong = 0;
  std::vector<index_t> rows;
  for (const auto& batch : tempflow::minibatches(data.rollout, data.advantages, data.weights,
                                                 {.size = 5, .shuffle = noise_key{.seed = 1}})) {
    REQUIRE(batch.offsets.size() == static_cast<std::size_t>(batch.x.rows()) + 1);
    for (index_t s = 0; s < batch.x.rows(); ++s) {
      const auto of_state = static_cast<std::size_t>(s);
      wrong +=
          support::same_bits(batch.x.slice(s, 1), rollout.states().slice(batch.states[of_state], 1)) ? 0 : 1;
      for (index_t i = batch.offsets[of_state]; i < batch.offsets[of_state + 1]; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const auto& row = rollout.row(batch.rows[at]);
        const auto sample = static_cast<std::size_t>(row.sample), step = static_cast<std::size_t>(row.step);
        wrong += row.state == batch.states[of_state] &&
                         support::same_bits(batch.y.slice(i, 1), rollout.states().slice(row.successor, 1)) &&
                         batch.transitions[s] == rollout.steps()[row.step] &&
                         batch.sigma[of_state] == rollout.steps().sigmas()[step] &&
                         batch.old_log_probs[at] ==
                             rollout.log_probs()[static_cast<std::size_t>(batch.rows[at])] &&
                         batch.advantages[at] == data.advantages[sample] &&
                         batch.weights[i] == data.weights[step] &&
                         batch.prompts[of_state] == rollout.identities()[sample].prompt &&
                         batch.convention == rollout.convention()
                     ? 0
                     : 1;
        rows.push_back(batch.rows[at]);
      }
    }
  }
  CHECK(wrong == 0);
  std::ranges::sort(rows);
  CHECK(rows == tempflow::step_range(0, 48));
}

TEST_CASE("updates share out whole initial noises, and losses are means over an update's rows",
          "[minibatches]") {
  training_data data;
  for (const bool shuffled : {false, true}) {
    minibatch_options options{.size = 3, .updates = 3};
    if (shuffled) options.shuffle = noise_key{};
    auto batches = tempflow::minibatches(data.rollout, data.advantages, data.weights, options);
    std::vector<index_t> sizes, completed, totals;
    std::vector<std::set<std::pair<index_t, index_t>>> trees(1);
    for (const auto& batch : batches) {
      totals.push_back(batch.mean_over);
      sizes.push_back(batch.x.rows());
      for (const index_t row : batch.rows) {
        trees.back().insert({data.rollout.row(row).noise.prompt, data.rollout.row(row).noise.seed});
      }
      if (batch.completes_update)
        completed.push_back(static_cast<index_t>(sizes.size())), trees.emplace_back();
    }
    // Four initial noises of four states each, three rows a state: 2, 1 and 1 of them, dealt out prompt by prompt.
    CHECK(sizes == std::vector<index_t>{3, 3, 2, 3, 1, 3, 1});
    CHECK(totals == std::vector<index_t>{24, 24, 24, 12, 12, 12, 12});
    CHECK(completed == std::vector<index_t>{3, 5, 7});
    CHECK(batches.size() == 7);
    CHECK((trees[0].size() == 2 && trees[1].size() == 1 && trees[2].size() == 1));
    std::set<std::pair<index_t, index_t>> all;
    for (const auto& of_update : trees) all.insert(of_update.begin(), of_update.end());
    CHECK(all.size() == 4);
  }
}

TEST_CASE("each of two updates trains on half of each prompt's initial noises", "[minibatches]") {
  training_data data;
  for (const bool shuffled : {false, true}) {
    minibatch_options options{.size = 100, .updates = 2};
    if (shuffled) options.shuffle = noise_key{};
    for (const auto& batch : tempflow::minibatches(data.rollout, data.advantages, data.weights, options)) {
      CHECK(std::ranges::count(batch.prompts, prompts[0]) == 4);
      CHECK(std::ranges::count(batch.prompts, prompts[1]) == 4);
    }
  }
}

TEST_CASE("rows that teach nothing can be left out, and the gradient stays what it was", "[minibatches]") {
  training_data data;
  for (std::size_t i = 0; i < 48; ++i) data.advantages[i] = i % 3 != 1 || i < 24 ? 0 : data.advantages[i];
  data.weights[3] = 0;
  const auto gradients = [&](bool skip) {
    batch_buffer<float> sums(data.rollout.states().rows(), dimension);
    auto batches =
        tempflow::minibatches(data.rollout, data.advantages, data.weights, {.size = 5, .skip_zeros = skip});
    index_t states = 0, rows = 0;
    for (const auto& batch : batches) {
      batch_buffer<float> v(batch.x.rows(), dimension), gradient(batch.x.rows(), dimension);
      data.model.velocity(batch.x, batch.sigma, batch.prompts, v.view());
      tempflow::policy_loss(cpu, batch, v.view(), {}, tempflow::clipped_grpo{}, gradient);
      for (index_t s = 0; s < batch.x.rows(); ++s) {
        tempflow::copy_rows(cpu, gradient.view().slice(s, 1),
                            sums.view().slice(batch.states[static_cast<std::size_t>(s)], 1));
      }
      states += batch.x.rows(), rows += batch.y.rows();
    }
    CHECK(states + batches.skipped_states() == 16);
    CHECK(rows + batches.skipped_rows() == 48);
    // Of step 2's states all teach by one row in three; step 3's have no weight, those before no advantage.
    CHECK(batches.skipped_states() == (skip ? 12 : 0));
    CHECK(batches.skipped_rows() == (skip ? 44 : 0));
    return sums;
  };
  auto few_batches =
      tempflow::minibatches(data.rollout, data.advantages, data.weights, {.size = 5, .skip_zeros = true});
  const auto first = *few_batches.begin();
  batch_buffer<float> v(first.x.rows(), dimension);
  CHECK_THROWS_MATCHES(
      tempflow::policy_loss(cpu, first, v.view(), v.view(), tempflow::clipped_grpo{.kl_beta = 0.1},
                            tempflow::batch_view<float>()),
      tempflow::value_error, MessageMatches(ContainsSubstring("kl_beta = 0.1")));
  const auto all = gradients(false), few = gradients(true);
  int wrong = 0;
  for (index_t s = 0; s < all.rows(); ++s) {
    for (index_t e = 0; e < dimension; ++e) wrong += all.view().row(s)[e] == few.view().row(s)[e] ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("training on noise that is drawn again has the gradient of training on stored branches",
                   "[minibatches]", float, bfloat16) {
  row_model<TestType> model(dimension);
  const auto steps = tempflow::make_chain(tempflow::sd3_sigmas(5), tempflow::flow_sde{0.7});
  for (const bool antithetic : {false, true}) {
    tempflow::branch_plan plan{.seeds_per_prompt = 2, .explorations = 4, .antithetic = antithetic};
    auto stored = tempflow::roll_out(cpu, model, prompts, steps, plan, {.seed = 8});
    plan.redraw = true;
    auto drawn = tempflow::roll_out(cpu, model, prompts, steps, plan, {.seed = 8});
    const std::vector<double> advantages = support::numbers(1).take(64), weights(5, 1.0);
    const auto gradients = [&](auto& rollout) {
      std::vector<float> all;
      for (const auto& batch :
           tempflow::minibatches(rollout, advantages, weights, {.size = 5, .shuffle = noise_key{}})) {
        batch_buffer<TestType> v(batch.x.rows(), dimension);
        batch_buffer<float> gradient(batch.x.rows(), dimension);
        model.velocity(batch.x, batch.sigma, batch.prompts, v.view());
        const auto total =
            tempflow::policy_loss(cpu, batch, v.view(), {}, tempflow::clipped_grpo{}, gradient);
        CHECK(total.max_abs_log_ratio == 0);
        CHECK(total.non_finite_rows == 0);
        for (index_t s = 0; s < batch.x.rows(); ++s)
          all.insert(all.end(), gradient.view().row(s), gradient.view().row(s) + dimension);
      }
      return all;
    };
    const auto a = gradients(stored), b = gradients(drawn);
    REQUIRE(a.size() == b.size());
    double largest = 0, worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      largest = std::max<double>(largest, std::abs(a[i]));
      worst = std::max<double>(worst, std::abs(a[i] - b[i]));
    }
    // What y loses when it is stored, over the std of the least noisy step; a part of the largest gradient.
    CHECK(worst < (std::is_same_v<TestType, float> ? 3e-6 : 0.2) * largest);
  }
}

TEST_CASE("what is drawn again cannot be rescored, nor trained on twice", "[minibatches][bad_input]") {
  row_model<float> model(dimension);
  auto rollout = tempflow::roll_out(cpu, model, prompts,
                                    tempflow::make_chain(tempflow::sd3_sigmas(5), tempflow::flow_sde{0.7}),
                                    tempflow::branch_plan{.redraw = true}, {.seed = 8});
  const std::vector<double> advantages(static_cast<std::size_t>(rollout.samples().rows())), weights(5, 1.0);
  CHECK_THROWS_MATCHES(tempflow::minibatches(rollout, advantages, weights, {.updates = 2}),
                       tempflow::value_error, MessageMatches(ContainsSubstring("updates = 2")));
  auto batches = tempflow::minibatches(rollout, advantages, weights);
  CHECK_THROWS_MATCHES(tempflow::rescore(cpu, model, batches), tempflow::value_error,
                       MessageMatches(ContainsSubstring("no successors")));
  index_t states = 0;
  for (const auto& batch : batches) states += batch.x.rows();
  CHECK(states == 32);
  CHECK_THROWS_MATCHES(batches.begin(), tempflow::value_error,
                       MessageMatches(ContainsSubstring("second pass")));
}

TEST_CASE("rewards of a tree are fused towards its root, by means or by the probabilities of paths",
          "[minibatches]") {
  row_model<float> model(dimension);
  const std::vector<index_t> one{3};
  auto rollout = tempflow::roll_out(cpu, model, one,
                                    tempflow::make_chain(tempflow::sd3_sigmas(3), tempflow::flow_sde{0.7}),
                                    tempflow::tree_plan{.split_steps = {0, 1}}, {.seed = 8});
  REQUIRE(rollout.rows() == 6);
  const std::vector<double> rewards{1, 2, 4, 9};
  CHECK(tempflow::fused_rewards(rollout, rewards) == std::vector<double>{1.5, 6.5, 1, 2, 4, 9});
  const auto p = rollout.log_probs();
  const auto fused = [&](std::size_t a, double ra, std::size_t b, double rb) {
    return (std::exp(p[a]) * ra + std::exp(p[b]) * rb) / (std::exp(p[a]) + std::exp(p[b]));
  };
  const auto by_path = tempflow::fused_rewards(rollout, rewards, tempflow::reward_fusion::path_probability);
  CHECK(by_path[0] == Approx(fused(2, 1, 3, 2)).epsilon(1e-13));
  CHECK(by_path[1] == Approx(fused(4, 4, 5, 9)).epsilon(1e-13));
  CHECK(std::vector<double>(by_path.begin() + 2, by_path.end()) == rewards);
  const auto paths = tempflow::path_log_probs(rollout);
  CHECK(paths[3] == p[0] + p[3]);
  CHECK(paths[4] == p[1] + p[4]);

  // Compared within a depth, and trained on row by row.
  const auto advantages =
      tempflow::group_advantages(tempflow::fused_rewards(rollout, rewards), rollout.depth_groups());
  CHECK(advantages.statistics.groups == 2);
  const std::vector<double> weights(3, 1.0);
  index_t rows = 0;
  for (const auto& batch :
       tempflow::minibatches(rollout, advantages, weights, {.advantages = tempflow::advantage_of::rows})) {
    for (std::size_t i = 0; i < batch.rows.size(); ++i, ++rows) {
      CHECK(batch.advantages[i] ==
            std::span<const double>(advantages)[static_cast<std::size_t>(batch.rows[i])]);
    }
  }
  CHECK(rows == 6);
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
  CHECK_THROWS_MATCHES(
      cut(48, 5, {.updates = 5})(), tempflow::value_error,
      MessageMatches(ContainsSubstring("updates = 5") && ContainsSubstring("4 initial noises")));
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

TEST_CASE("after rescoring with a mask the ratio of masked losses is exactly 1", "[rescore][mask]") {
  row_model<float> model(dimension);
  auto rollout = roll_out(model);
  const std::vector<double> advantages(48, 1.0), weights(5, 1.0);
  std::vector<std::uint8_t> bytes(dimension, 1);
  bytes[0] = 0;
  const tempflow::element_mask mask(bytes.data(), 1, dimension);
  auto batches = tempflow::minibatches(rollout, advantages, weights, {.size = 7});
  const auto largest = [&] {
    double size = 0;
    for (const auto& batch : batches) {
      tempflow::policy_batch<float> masked = batch;
      masked.mask = mask;
      batch_buffer<float> v(batch.x.rows(), dimension), gradient(batch.x.rows(), dimension);
      model.velocity(batch.x, batch.sigma, batch.prompts, v);
      const auto total = tempflow::policy_loss(
          cpu, masked, v, {}, {}, tempflow::as_row_objective(tempflow::clipped_grpo{}), gradient);
      size = std::max(size, total.max_abs_log_ratio);
    }
    return size;
  };
  CHECK(largest() > 0);  // the rollout has scored all elements
  CHECK(tempflow::rescore(cpu, model, batches, mask).rows == 48);
  CHECK(largest() == 0);
}
