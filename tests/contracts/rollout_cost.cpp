// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What a plan says it costs, against the formulas and against what a model was asked for.

#include "tempflow/rollout/branch_plan.hpp"

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "support/models.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/training/presets.hpp"

using tempflow::branch_plan;
using tempflow::chain;
using tempflow::index_t;

namespace {

constexpr index_t dimension = 3;

chain ten_steps() {
  const auto preset = tempflow::presets::sd3_5_medium();
  return tempflow::make_chain(preset.sigmas(), preset.dynamics());
}

std::vector<index_t> first_steps(index_t count) { return tempflow::step_range(0, count); }

// The plan of one seed, and of one branching step more or less: what the papers count.
branch_plan one_seed(index_t branching) {
  return {.seeds_per_prompt = 1, .explorations = 6, .branch_steps = first_steps(branching)};
}

// Runs a plan with a model that counts, and compares.
void check_told_cost(const branch_plan& plan, const chain& steps, index_t prompts) {
  support::row_model<float> model(dimension);
  const auto ids = tempflow::step_range(5, prompts);
  const auto rollout = tempflow::roll_out(tempflow::cpu_backend(1), model, ids, steps, plan, {.seed = 1});
  const auto cost = plan.cost(steps, prompts, dimension, sizeof(float));
  CHECK(cost.model_evaluations == model.evaluations);
  CHECK(cost.model_calls == model.calls);
  CHECK(cost.samples == rollout.samples().rows());
  if (plan.max_batch > 0) CHECK(model.largest_call <= plan.max_batch);
  const index_t stored =
      (rollout.states().rows() + rollout.samples().rows() + rollout.trunk_samples().rows());
  CHECK(cost.bytes == stored * dimension * index_t{sizeof(float)} +
                          static_cast<index_t>(rollout.log_probs().size() * sizeof(double)));
}

}  // namespace

TEST_CASE("at T = 10 and K = 6 a seed takes 279 evaluations over nine branching steps, 280 over ten",
          "[plan]") {
  // T_b + K sum_i (T - 1 - i): 9 + 6 * 45 and 10 + 6 * 45.
  CHECK(one_seed(9).cost(ten_steps(), 1).model_evaluations == 279);
  CHECK(one_seed(10).cost(ten_steps(), 1).model_evaluations == 280);
  auto decoded_trunk = one_seed(9);
  decoded_trunk.finish_trunk = true;
  CHECK(decoded_trunk.cost(ten_steps(), 1).model_evaluations == 280);
}

TEST_CASE("four seeds per prompt take 1,116 evaluations and 216 samples, or 1,120 and 240", "[plan]") {
  auto nine = one_seed(9), ten = one_seed(10);
  nine.seeds_per_prompt = ten.seeds_per_prompt = 4;
  CHECK(nine.cost(ten_steps(), 1).model_evaluations == 1116);
  CHECK(nine.cost(ten_steps(), 1).samples == 216);
  CHECK(ten.cost(ten_steps(), 1).model_evaluations == 1120);
  CHECK(ten.cost(ten_steps(), 1).samples == 240);
  CHECK(nine.cost(ten_steps(), 48).model_evaluations == 48 * 1116);
}

TEST_CASE("55 sequential calls become at most ten", "[plan]") {
  CHECK(one_seed(10).cost(ten_steps(), 1).sequential_calls == 55);  // T (T + 1) / 2
  CHECK(one_seed(10).cost(ten_steps(), 1).model_calls == 10);
  CHECK(one_seed(9).cost(ten_steps(), 1).sequential_calls == 54);
  CHECK(one_seed(9).cost(ten_steps(), 1).model_calls <= 10);
  CHECK(branch_plan{}.cost(ten_steps(), 48).model_calls <= 10);
}

TEST_CASE("calls are counted in chunks of the model's largest batch", "[plan]") {
  // Three prompts with two seeds: trunks of 6 rows, blocks of 18 branches; at step j a trunk and j blocks.
  const branch_plan plan{.seeds_per_prompt = 2, .explorations = 3, .max_batch = 4};
  index_t wavefront = 0, sequential = 0;
  for (index_t j = 0; j < 10; ++j) {
    const index_t trunk = j < 9 ? 6 : 0, blocks = j;
    wavefront += (trunk + 18 * blocks + 3) / 4;
    sequential += (trunk + 3) / 4 + blocks * 5;  // ceil(18 / 4)
  }
  CHECK(plan.cost(ten_steps(), 3).model_calls == wavefront);
  CHECK(plan.cost(ten_steps(), 3).sequential_calls == sequential);
}

TEST_CASE("a plan with the defaults branches at every step but the last", "[plan]") {
  CHECK(branch_plan{}.steps_on(ten_steps()) == first_steps(9));
  CHECK(branch_plan{}.seeds_per_prompt == 4);
  CHECK(branch_plan{}.explorations == 6);
}

TEST_CASE("coarse completion takes at most m evaluations per branch", "[plan]") {
  for (const index_t m : {1, 2, 3, 9, 20}) {
    auto plan = one_seed(9);
    plan.completion_steps = {m};
    index_t expected = 9;
    for (index_t i = 0; i < 9; ++i) expected += 6 * std::min<index_t>(m, 9 - i);
    INFO("m = " << m);
    CHECK(plan.cost(ten_steps(), 1).model_evaluations == expected);
  }
}

TEST_CASE("completion knots start behind the branching step, end at T and are spread evenly", "[plan]") {
  using tempflow::completion_knots;
  CHECK(completion_knots(6, 10, 0) == std::vector<index_t>{7, 8, 9, 10});
  CHECK(completion_knots(9, 10, 0) == std::vector<index_t>{10});
  CHECK(completion_knots(2, 10, 1) == std::vector<index_t>{3, 10});
  CHECK(completion_knots(1, 10, 2) == std::vector<index_t>{2, 6, 10});
  // Knots that do not fall on the grid go to the nearest of it, and up from the middle: 6.5, then 5.33 and 7.67,
  // then 5.5, 7 and 8.5.
  CHECK(completion_knots(2, 10, 2) == std::vector<index_t>{3, 7, 10});
  CHECK(completion_knots(2, 10, 3) == std::vector<index_t>{3, 5, 8, 10});
  CHECK(completion_knots(3, 10, 4) == std::vector<index_t>{4, 6, 7, 9, 10});
  for (const index_t m : {1, 2, 3, 4, 7, 30}) {
    for (index_t i = 0; i < 10; ++i) {
      const auto knots = completion_knots(i, 10, m);
      const index_t hops = static_cast<index_t>(knots.size()) - 1, remaining = 9 - i;
      INFO("m = " << m << ", step " << i);
      CHECK(hops == std::min(m, remaining));
      CHECK(knots.front() == i + 1);
      CHECK(knots.back() == 10);
      for (std::size_t k = 1; k < knots.size(); ++k) {
        const index_t length = knots[k] - knots[k - 1];  // as even as whole numbers allow
        CHECK(length >= remaining / hops);
        CHECK(length <= (remaining + hops - 1) / hops);
      }
    }
  }
}

TEST_CASE("a rollout takes what its plan told: evaluations, calls, samples and bytes", "[plan]") {
  const auto steps = ten_steps();
  check_told_cost(one_seed(9), steps, 1);
  check_told_cost(one_seed(10), steps, 2);
  check_told_cost({.seeds_per_prompt = 2, .explorations = 3, .finish_trunk = true}, steps, 3);
  check_told_cost({.seeds_per_prompt = 2, .explorations = 3, .branch_steps = {2, 5, 6}}, steps, 3);
  check_told_cost({.seeds_per_prompt = 2, .explorations = 3, .branch_steps = {9}}, steps, 1);
  for (const index_t m : {1, 2, 5}) check_told_cost({.explorations = 2, .completion_steps = {m}}, steps, 2);
  for (const index_t limit : {1, 7, 24, 1000}) {
    check_told_cost({.seeds_per_prompt = 2, .explorations = 3, .max_batch = limit}, steps, 3);
    check_told_cost({.explorations = 2, .completion_steps = {2}, .finish_trunk = true, .max_batch = limit},
                    steps, 2);
  }
}

TEST_CASE("what a call needs beside the states is bounded by max_batch", "[plan]") {
  // Remembers the memory that its velocities, and states that come from several nodes, lie in.
  struct watching_model : support::row_model<float> {
    using support::row_model<float>::row_model;

    const float *first = nullptr, *last = nullptr;

    void velocity(support::batch_view<const float> x, std::span<const double> sigma,
                  std::span<const index_t> prompts, support::batch_view<float> v) {
      if (first == nullptr) first = last = v.data();
      first = std::min(first, static_cast<const float*>(v.data()));
      last = std::max(last, static_cast<const float*>(v.data() + v.rows() * v.columns()));
      support::row_model<float>::velocity(x, sigma, prompts, v);
    }
  };
  const auto steps = ten_steps();
  const std::vector<index_t> prompts{5, 6, 7};
  constexpr index_t row = dimension * index_t{sizeof(float)};
  branch_plan plan{.seeds_per_prompt = 2, .explorations = 3};
  // Step j takes 3 * (2 + 6 j) rows, the last 3 * 6 * 9 without trunks; all but the first come from several nodes.
  const index_t widest = 3 * 6 * 9;
  for (const index_t limit : {0, 1, 4, 100, 1000}) {
    plan.max_batch = limit;
    const index_t rows = limit == 0 ? widest : std::min(limit, widest);
    const auto cost = plan.cost(steps, 3, dimension, sizeof(float));
    INFO("max_batch = " << limit);
    CHECK(cost.working_bytes == 2 * rows * row + 8 * cost.model_evaluations);
    watching_model model(dimension);
    tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps, plan, {.seed = 1});
    CHECK(model.last - model.first == rows * dimension);
  }
}

TEST_CASE("states on their way are not a call's, and stay whatever max_batch", "[plan]") {
  // Two states of a prompt walk to knot 8 in scratch rows; there each draws 3 untrained successors, which share the
  // rows of their samples. Steps of second order keep a prediction of each.
  const auto steps = ten_steps();
  tempflow::forest plan(steps);
  plan.max_batch = 1;
  index_t at = plan.start(2);
  for (index_t knot = 1; knot < 9; ++knot) at = plan.ode(at, knot, tempflow::ode_solver::dpm_solver_2m);
  plan.finish(plan.ode(plan.draw(at, {.children = 3, .trained = false}), 10));
  plan.finish(plan.ode(at, 10));
  const index_t row = dimension * index_t{sizeof(float)};
  const auto cost = tempflow::cost_of(plan, 5, dimension, sizeof(float));
  // In bytes: a velocity, but no gathered state, as one node leaves a knot; states of nodes 0 to 8 and their
  // predictions, two of each prompt; of each prompt 6 log-probs that nobody keeps.
  CHECK(cost.working_bytes == row + 5 * (2 + 2) * row + 5 * 6 * 8 + 8 * cost.model_evaluations);
}

TEST_CASE("a chain of one step may branch at it", "[plan]") {
  const auto steps = tempflow::make_chain({1, 0.5}, tempflow::flow_sde{0.7});
  check_told_cost({.seeds_per_prompt = 2, .explorations = 3, .branch_steps = {0}}, steps, 2);
}

TEST_CASE("Flow-GRPO's rollout takes T evaluations per sample, as its plan tells", "[plan]") {
  const auto steps = ten_steps();
  for (const index_t limit : {0, 5, 48}) {
    const tempflow::flow_plan plan{.samples_per_prompt = 24, .max_batch = limit};
    support::row_model<float> model(dimension);
    const std::vector<index_t> prompts{3, 4};
    const auto rollout =
        tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps, plan, {.seed = 1});
    const auto cost = plan.cost(steps, 2, dimension, sizeof(float));
    CHECK(cost.model_evaluations == 2 * 24 * 10);
    CHECK(cost.model_evaluations == model.evaluations);
    CHECK(cost.model_calls == model.calls);
    CHECK(cost.samples == rollout.samples().rows());
    CHECK(cost.bytes ==
          (rollout.states().rows() + rollout.samples().rows()) * dimension * index_t{sizeof(float)} +
              static_cast<index_t>(rollout.log_probs().size() * sizeof(double)));
  }
}
