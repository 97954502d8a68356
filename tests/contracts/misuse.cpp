// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Uses that are easy to get wrong: each is an error that says so, or does what was meant.

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/tempflow.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::index_t;
using tempflow::transition;

namespace {

constexpr index_t huge = std::numeric_limits<index_t>::max();

tempflow::chain ten_steps() { return tempflow::make_chain(tempflow::sd3_sigmas(10), tempflow::flow_sde{}); }

auto noisy_model() {
  return tempflow::flow_model<float>(3, [](auto x, auto sigma, auto, auto v) {
    for (index_t i = 0; i < x.rows(); ++i) {
      for (index_t e = 0; e < 3; ++e)
        v.row(i)[e] = x.row(i)[e] * static_cast<float>(sigma[static_cast<std::size_t>(i)]);
    }
  });
}

tempflow::trajectories<float> some_rollout() {
  auto model = noisy_model();
  const std::vector<index_t> prompts{0, 1};
  return tempflow::roll_out(tempflow::cpu_backend(2), model, prompts, ten_steps(),
                            tempflow::branch_plan{.seeds_per_prompt = 1}, {});
}

}  // namespace

TEST_CASE("a sampler of one's own need only give alpha, beta and std", "[misuse]") {
  const auto own = [](const tempflow::sigma_step& at) {
    return transition{.alpha = 1, .beta = at.sigma_next - at.sigma, .std = 0.1};
  };
  const auto chain = tempflow::make_chain({1, 0.5, 0}, own);
  CHECK(chain[1].sigma == 0.5);
  CHECK(chain[1].sigma_next == 0);
  CHECK(chain[1].dt == 0.5);
  CHECK(chain[1].diffusion == Approx(0.1 / std::sqrt(0.5)));
  const auto broken = [](const tempflow::sigma_step&) { return transition{.alpha = std::nan("")}; };
  CHECK_THROWS_AS(tempflow::make_chain({1, 0}, broken), tempflow::schedule_error);
  const auto negative = [](const tempflow::sigma_step&) { return transition{.std = -1}; };
  CHECK_THROWS_MATCHES(tempflow::make_chain({1, 0}, negative), tempflow::schedule_error,
                       MessageMatches(ContainsSubstring("std = -1")));
}

TEST_CASE("one noise id for several rows is an error, not the same noise for all", "[misuse]") {
  batch_buffer<float> out(2, 4);
  CHECK_THROWS_MATCHES(tempflow::fill_noise(tempflow::cpu_backend(1),
                                            {tempflow::noise_key{}, tempflow::noise_id{}}, out.view()),
                       tempflow::shape_error, MessageMatches(ContainsSubstring("same noise")));
  tempflow::fill_noise(tempflow::cpu_backend(1), {tempflow::noise_key{}, tempflow::noise_id{}},
                       out.view().slice(0, 1));
}

TEST_CASE("extents that no memory holds are errors before anything is allocated", "[misuse]") {
  CHECK_THROWS_AS((batch_buffer<float>(index_t{1} << 62, 4)), tempflow::shape_error);
  CHECK_THROWS_AS((batch_buffer<float>((index_t{1} << 62) + 1, 4)), tempflow::shape_error);
  float element = 0;
  CHECK_THROWS_AS((batch_view<float>(&element, huge, 2)), tempflow::shape_error);
}

TEST_CASE("unlimited means unlimited: the largest index is no overflow", "[misuse]") {
  const tempflow::branch_plan plan{.seeds_per_prompt = 1, .completion_steps = {huge}, .max_batch = huge};
  CHECK(plan.cost(ten_steps(), 1).model_calls == 10);
  CHECK(plan.cost(ten_steps(), 1).model_evaluations == 279);
  CHECK((tempflow::flow_plan{.max_batch = huge}.cost(ten_steps(), 1).model_calls) == 10);
  auto rollout = some_rollout();
  const std::vector<double> advantages(108, 1.0);
  const auto weights = tempflow::uniform_weights(ten_steps());
  CHECK(tempflow::minibatches(rollout, advantages, weights,
                              {.size = huge, .updates = 2, .shuffle = tempflow::noise_key{}})
            .size() == 2);
  CHECK_THROWS_AS((tempflow::random_window{.size = 1, .last = huge}.at({}, 10)), tempflow::schedule_error);
}

TEST_CASE("rollouts too large to count are errors", "[misuse]") {
  CHECK_THROWS_AS((tempflow::branch_plan{.seeds_per_prompt = index_t{1} << 33}.cost(ten_steps(), 1)),
                  tempflow::value_error);
  CHECK_THROWS_AS((tempflow::branch_plan{.seeds_per_prompt = 1 << 30}.cost(ten_steps(), 1 << 30, 1 << 20)),
                  tempflow::value_error);
  CHECK_THROWS_AS(tempflow::branch_plan{}.cost(ten_steps(), -3), tempflow::value_error);
}

TEST_CASE("a deterministic step may be written over its state, but not beside it", "[misuse]") {
  batch_buffer<float> x(3, 4), v(3, 4), longer(4, 4);
  const tempflow::cpu_backend cpu(1);
  tempflow::ode_step(cpu, x.view(), v, transition{}, x);
  CHECK_THROWS_MATCHES(
      tempflow::ode_step(cpu, longer.view().slice(0, 3), v, transition{}, longer.view().slice(1, 3)),
      tempflow::shape_error, MessageMatches(ContainsSubstring("shares memory")));
}

TEST_CASE("batches may be kept: each owns what it shows", "[misuse]") {
  auto rollout = some_rollout();
  const std::vector<double> advantages(108, 1.0);
  const auto weights = tempflow::uniform_weights(ten_steps());
  std::vector<tempflow::minibatch<float>> kept;
  for (const auto& batch : tempflow::minibatches(rollout, advantages, weights, {.size = 2}))
    kept.push_back(batch);
  REQUIRE(kept.size() == 9);
  for (std::size_t b = 0; b < kept.size(); ++b) {
    CHECK(kept[b].rows[0] == static_cast<index_t>(12 * b));
    CHECK(kept[b].sigma[0] == ten_steps()[static_cast<index_t>(b)].sigma);
    CHECK(kept[b].x.row(0)[0] == rollout.states().row(rollout.row(kept[b].rows[0]).state)[0]);
  }
}

TEST_CASE("a gradient that overflows fp16 is dropped and counted", "[misuse]") {
  const std::vector<double> old{-1, -1}, advantages{1, 1e-6};
  batch_buffer<float> x(2, 3), y(2, 3), v(2, 3);
  for (index_t e = 0; e < 3; ++e) y.view().row(0)[e] = y.view().row(1)[e] = 1;
  std::vector<double> scored(2);
  const transition step = ten_steps()[2];
  const tempflow::cpu_backend cpu(1);
  tempflow::log_prob(cpu, x.view(), v, y, step, scored);
  batch_buffer<tempflow::float16> gradient(2, 3);
  const auto total = tempflow::policy_loss(cpu,
                                           tempflow::policy_batch<float>{.x = x,
                                                                         .y = y,
                                                                         .transitions = step,
                                                                         .old_log_probs = scored,
                                                                         .advantages = advantages,
                                                                         .gradient_scale = 1e9},
                                           v, {}, tempflow::clipped_grpo{}, gradient);
  CHECK(total.non_finite_rows == 1);
  CHECK(total.max_abs_log_ratio == 0);
  CHECK(gradient.view().row(0)[0] == tempflow::float16{});
  CHECK(tempflow::load(gradient.view().row(1)[0]) != 0);
}

TEST_CASE("the loss alone needs no gradient", "[misuse]") {
  const std::vector<double> old{-1}, advantages{1};
  batch_buffer<float> x(1, 3), v(1, 3);
  const auto total = tempflow::policy_loss(
      tempflow::cpu_backend(1),
      tempflow::policy_batch<float>{
          .x = x, .y = x, .transitions = ten_steps()[2], .old_log_probs = old, .advantages = advantages},
      v, {}, tempflow::clipped_grpo{}, {});
  CHECK(total.rows == 1);
}

TEST_CASE("a KL over the diffusion needs a diffusion", "[misuse]") {
  const std::vector<double> old{-1}, advantages{1};
  batch_buffer<float> x(1, 3), v(1, 3);
  const transition without{.alpha = 1, .beta = -0.1, .std = 0.2};
  CHECK_THROWS_MATCHES(
      tempflow::policy_loss(
          tempflow::cpu_backend(1),
          tempflow::policy_batch<float>{
              .x = x, .y = x, .transitions = without, .old_log_probs = old, .advantages = advantages},
          v, v, tempflow::clipped_grpo{.kl_beta = 1, .kl_over = tempflow::kl_denominator::diffusion}, {}),
      tempflow::schedule_error, MessageMatches(ContainsSubstring("diffusion = 0")));
}

TEST_CASE("groups of one sample each cannot teach anything", "[misuse]") {
  const std::vector<double> rewards{1, 2, 3};
  const std::vector<std::int64_t> alone{4, 5, 6};
  CHECK_THROWS_MATCHES(tempflow::group_advantages(rewards, alone), tempflow::group_error,
                       MessageMatches(ContainsSubstring("no group of the 3 samples has two")));
}

TEST_CASE("rescoring stops at a log-prob that is not finite, and names the row", "[misuse]") {
  auto rollout = some_rollout();
  const std::vector<double> advantages(108, 1.0);
  const auto weights = tempflow::uniform_weights(ten_steps());
  auto batches = tempflow::minibatches(rollout, advantages, weights, {.size = 200});
  auto broken = tempflow::flow_model<float>(3, [](auto, auto, auto, auto v) {
    for (index_t i = 0; i < v.rows(); ++i)
      std::fill_n(v.row(i), 3, i == 5 ? std::nanf("") : 0.0f);  // of the state that rows 30 to 35 leave
  });
  const std::vector<double> before(rollout.log_probs().begin(), rollout.log_probs().end());
  CHECK_THROWS_MATCHES(tempflow::rescore(tempflow::cpu_backend(1), broken, batches), tempflow::value_error,
                       MessageMatches(ContainsSubstring("row 30")));
  CHECK(std::vector<double>(rollout.log_probs().begin(), rollout.log_probs().end()) == before);
}

TEST_CASE("what a temporary owns cannot be viewed", "[misuse]") {
  CHECK_FALSE(std::is_convertible_v<batch_buffer<float>, batch_view<const float>>);
  CHECK(std::is_convertible_v<const batch_buffer<float>&, batch_view<const float>>);
  CHECK_FALSE(std::is_convertible_v<std::vector<double>, tempflow::per_row<double>>);
  CHECK(std::is_convertible_v<const std::vector<double>&, tempflow::per_row<double>>);
}
