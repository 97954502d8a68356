// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The wavefront against the sequential rollout, branch after branch and row by row: the same bits.

#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/rollout/tree_plan.hpp"

#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "support/models.hpp"
#include "support/walker.hpp"
#include "tempflow/backend/cpu.hpp"

using support::row_model;
using tempflow::bfloat16;
using tempflow::branch_plan;
using tempflow::chain;
using tempflow::index_t;
using tempflow::trajectories;

namespace {

constexpr index_t dimension = 37;
constexpr tempflow::noise_key key{.seed = 99, .update = 4};
const std::vector<index_t> prompts{7, 0, 4000000000};

chain six_steps() { return tempflow::make_chain(tempflow::sd3_sigmas(6), tempflow::flow_sde{0.7}); }

/// The trajectory of a prompt and a seed, alone.
template <class T>
support::walker<T> alone(const chain& steps, index_t prompt, index_t seed) {
  return {steps,
          dimension,
          key,
          {.prompt = static_cast<std::uint32_t>(prompt), .seed = static_cast<std::uint32_t>(seed)}};
}

// Every branch on its own: along the ODE to its step, one draw, and the ODE over the given knots.
template <class T>
void check_against_sequential(const trajectories<T>& rollout, const branch_plan& plan, const chain& steps) {
  index_t row = 0;
  int wrong = 0;
  for (const index_t i : plan.steps_on(steps)) {
    for (const index_t prompt : prompts) {
      for (index_t seed = 0; seed < plan.seeds_per_prompt; ++seed) {
        for (index_t k = 0; k < plan.explorations; ++k, ++row) {
          auto walker = alone<T>(steps, prompt, seed);
          for (index_t j = 0; j < i; ++j) walker.ode(j, j + 1);
          const auto& entry = rollout.row(row);
          const auto same = [&](index_t state) {
            return support::same_bits(walker.x.view(), rollout.states().slice(state, 1));
          };
          wrong += same(entry.state) ? 0 : 1;
          const double log_prob = walker.draw(i, k);
          wrong +=
              same(entry.successor) && log_prob == rollout.log_probs()[static_cast<std::size_t>(row)] ? 0 : 1;
          const auto knots = tempflow::completion_knots(i, steps.steps(), plan.completion_steps[0]);
          for (std::size_t hop = 0; hop + 1 < knots.size(); ++hop) walker.ode(knots[hop], knots[hop + 1]);
          wrong += support::same_bits(walker.x.view(), rollout.samples().slice(entry.sample, 1)) ? 0 : 1;
          const auto& who = rollout.identities()[static_cast<std::size_t>(entry.sample)];
          wrong += entry.step == i && entry.sample == row && who.prompt == prompt && who.seed == seed &&
                           who.step == i && who.branch == k
                       ? 0
                       : 1;
        }
      }
    }
  }
  CHECK(row == rollout.rows());
  CHECK(wrong == 0);
}

template <class T>
trajectories<T> roll_out(const branch_plan& plan, const chain& steps, index_t threads = 1) {
  row_model<T> model(dimension);
  return tempflow::roll_out(tempflow::cpu_backend(threads), model, prompts, steps, plan, key);
}

template <class T>
bool same(const trajectories<T>& a, const trajectories<T>& b) {
  return support::same_bits(a.states(), b.states()) && support::same_bits(a.samples(), b.samples()) &&
         support::same_bits(a.trunk_samples(), b.trunk_samples()) &&
         support::same_bits(a.log_probs(), b.log_probs());
}

}  // namespace

TEMPLATE_TEST_CASE("the wavefront gives the bits of the sequential rollout", "[wavefront]", float, bfloat16) {
  const branch_plan plan{.seeds_per_prompt = 2, .explorations = 3};
  check_against_sequential(roll_out<TestType>(plan, six_steps(), 2), plan, six_steps());
}

TEST_CASE("with coarse completion the wavefront gives the bits of the sequential rollout", "[wavefront]") {
  for (const index_t m : {1, 2, 3}) {
    const branch_plan plan{.seeds_per_prompt = 2, .explorations = 2, .completion_steps = {m}, .max_batch = 5};
    INFO("m = " << m);
    check_against_sequential(roll_out<float>(plan, six_steps()), plan, six_steps());
  }
}

TEST_CASE("with chosen branching steps the wavefront gives the bits of the sequential rollout",
          "[wavefront]") {
  const branch_plan plan{
      .seeds_per_prompt = 1, .explorations = 2, .branch_steps = {0, 3, 5}, .finish_trunk = true};
  check_against_sequential(roll_out<float>(plan, six_steps()), plan, six_steps());
}

TEST_CASE("a finished trunk is the ODE's sample of each prompt and seed", "[wavefront]") {
  const branch_plan plan{.seeds_per_prompt = 2, .explorations = 2, .branch_steps = {1}, .finish_trunk = true};
  const auto steps = six_steps();
  const auto rollout = roll_out<float>(plan, steps);
  REQUIRE(rollout.trunk_samples().rows() == 6);
  index_t row = 0;
  for (const index_t prompt : prompts) {
    for (index_t seed = 0; seed < 2; ++seed, ++row) {
      auto walker = alone<float>(steps, prompt, seed);
      for (index_t j = 0; j < 6; ++j) walker.ode(j, j + 1);
      CHECK(support::same_bits(walker.x.view(), rollout.trunk_samples().slice(row, 1)));
    }
  }
  const auto without = roll_out<float>({.seeds_per_prompt = 1, .explorations = 1}, six_steps());
  CHECK(without.trunk_samples().empty());
}

TEST_CASE("chunks of any size and any number of threads give the same bits", "[wavefront]") {
  const branch_plan plan{
      .seeds_per_prompt = 2, .explorations = 3, .completion_steps = {2}, .finish_trunk = true};
  const auto expected = roll_out<float>(plan, six_steps());
  for (const index_t threads : {1, 2, 3}) {
    for (const index_t limit : {0, 1, 5, 18, 1000}) {
      auto chunked = plan;
      chunked.max_batch = limit;
      INFO(threads << " threads, " << limit << " rows per call");
      CHECK(same(roll_out<float>(chunked, six_steps(), threads), expected));
    }
  }
}

TEST_CASE("chunks of any size give the same bits with steps of second order, shared noise and trees",
          "[wavefront]") {
  const auto check = [](auto plan) {
    const auto roll = [&] {
      row_model<float> model(dimension);
      return tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, six_steps(), plan, key);
    };
    const auto expected = roll();
    for (const index_t limit : {1, 2, 5, 7}) {
      plan.max_batch = limit;
      INFO(limit << " rows per call");
      CHECK(same(roll(), expected));
    }
  };
  branch_plan second{.seeds_per_prompt = 2,
                     .explorations = 2,
                     .completion_solver = tempflow::ode_solver::dpm_solver_2m,
                     .finish_trunk = true,
                     .antithetic = true};
  check(second);
  second.shared_noise = second.redraw = true;
  check(second);
  check(tempflow::tree_plan{.trees_per_prompt = 2, .split_steps = {1, 3}});
  check(tempflow::flow_plan{.samples_per_prompt = 5, .trained_steps = {2, 3}});
}

TEST_CASE("a branch does not depend on which other prompts, seeds, steps or explorations are rolled out",
          "[wavefront]") {
  const auto all = roll_out<float>({.seeds_per_prompt = 3, .explorations = 4}, six_steps());
  row_model<float> model(dimension);
  const std::vector<index_t> alone{0};
  const auto one = tempflow::roll_out(
      tempflow::cpu_backend(1), model, alone, six_steps(),
      tempflow::branch_plan{.seeds_per_prompt = 1, .explorations = 2, .branch_steps = {2}}, key);
  // Step 2, prompt 0 (second of three), seed 0: block 2 of 3 * 3 * 4 rows, seed block 3 of 4 rows.
  const index_t first = 2 * 36 + 3 * 4;
  for (index_t k = 0; k < 2; ++k) {
    CHECK(support::same_bits(one.samples().slice(k, 1), all.samples().slice(first + k, 1)));
    CHECK(one.log_probs()[static_cast<std::size_t>(k)] ==
          all.log_probs()[static_cast<std::size_t>(first + k)]);
  }
}

TEST_CASE("another key gives other noise and other samples", "[wavefront]") {
  const branch_plan plan{.seeds_per_prompt = 1, .explorations = 2};
  row_model<float> model(dimension);
  const auto other = tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, six_steps(), plan,
                                        {.seed = key.seed, .update = key.update + 1});
  const auto base = roll_out<float>(plan, six_steps());
  for (index_t i = 0; i < base.rows(); ++i) {
    CHECK_FALSE(support::same_bits(base.samples().slice(i, 1), other.samples().slice(i, 1)));
  }
}
