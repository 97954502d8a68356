// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Velocities in another storage type than the states, as under autocast: what is read is exact, so the results are
// those of velocities converted beforehand.

#include <algorithm>
#include <vector>

#include "support/all_operations.hpp"
#include "support/catch.hpp"
#include "support/sibling_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/rescore.hpp"
#include "tempflow/rollout/roll_out.hpp"

using support::converted;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::instruction_set;

TEMPLATE_TEST_CASE("16-bit velocities of fp32 states are those numbers in fp32", "[storage]", bfloat16,
                   float16) {
  const support::operation_inputs<float, TestType> mixed;
  support::operation_inputs<float> wide;
  wide.v = converted<float>(mixed.v), wide.v_ref = converted<float>(mixed.v_ref);
  const auto expected = wide.compute(cpu_backend(1, instruction_set::portable));
  for (const auto instructions :
       {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
    INFO("asked for " << to_string(instructions));
    CHECK(mixed.compute(cpu_backend(2, instructions)).same_as(expected));
  }
}

TEST_CASE("fp32 velocities of bf16 states that bf16 can store are those numbers in bf16", "[storage]") {
  const support::operation_inputs<bfloat16> narrow;
  support::operation_inputs<bfloat16, float> mixed;
  mixed.v = converted<float>(narrow.v), mixed.v_ref = converted<float>(narrow.v_ref);
  const auto expected = narrow.compute(cpu_backend(1));
  for (const auto instructions :
       {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
    INFO("asked for " << to_string(instructions));
    CHECK(mixed.compute(cpu_backend(1, instructions)).same_as(expected));
  }
}

TEST_CASE("siblings, also drawn again, take velocities in another type", "[storage]") {
  const cpu_backend cpu(1);
  const support::sibling_problem<float> problem(cpu, 2051);
  const auto v = converted<bfloat16>(problem.v), v_ref = converted<bfloat16>(problem.v_ref);
  const auto wide = converted<float>(v), wide_ref = converted<float>(v_ref);
  const tempflow::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.1};
  for (const auto& batch : {problem.batch(), problem.drawn_again()}) {
    batch_buffer<float> mixed(problem.states(), 2051), expected(problem.states(), 2051);
    batch_buffer<bfloat16> narrow(problem.states(), 2051);
    tempflow::policy_loss(cpu, batch, v, v_ref, objective, mixed);
    tempflow::policy_loss(cpu, batch, wide, wide_ref, objective, expected);
    tempflow::policy_loss(cpu, batch, v, v_ref, objective, narrow);
    CHECK(support::same_bits(mixed, expected));
    CHECK(support::same_bits(narrow, converted<bfloat16>(expected)));
  }
}

TEST_CASE("double meets no other type", "[storage]") {
  STATIC_REQUIRE(tempflow::velocities_for<batch_view<const bfloat16>, float>);
  STATIC_REQUIRE(tempflow::velocities_for<batch_buffer<float>&, float16>);
  STATIC_REQUIRE(tempflow::velocities_for<batch_view<double>, double>);
  STATIC_REQUIRE_FALSE(tempflow::velocities_for<batch_view<float>, double>);
  STATIC_REQUIRE_FALSE(tempflow::velocities_for<batch_view<double>, float>);
}

TEST_CASE("a model under autocast rolls out, is scored again and trained with its own velocities",
          "[storage]") {
  const cpu_backend cpu(2);
  constexpr index_t dimension = 37;
  const auto steps = tempflow::make_chain(tempflow::sd3_sigmas(5), tempflow::flow_sde{0.7});
  const auto fill = [](auto x, auto sigma, auto, auto v) {
    using V = typename decltype(v)::value_type;
    for (index_t i = 0; i < x.rows(); ++i) {
      for (index_t e = 0; e < x.columns(); ++e) {
        const float narrow = tempflow::load(tempflow::store<bfloat16>(
            0.5f * x.row(i)[e] + static_cast<float>(sigma[static_cast<std::size_t>(i)])));
        v.row(i)[e] = tempflow::store<V>(narrow);
      }
    }
  };
  auto mixed = tempflow::flow_model<float, bfloat16>(dimension, fill);
  auto wide = tempflow::flow_model<float>(dimension, fill);
  const std::vector<index_t> prompts{3, 8};
  for (const auto solver : {tempflow::ode_solver::one_step, tempflow::ode_solver::dpm_solver_2m}) {
    const tempflow::branch_plan plan{.seeds_per_prompt = 2, .explorations = 3, .completion_solver = solver};
    auto found = tempflow::roll_out(cpu, mixed, prompts, steps, plan, {.seed = 5});
    const auto expected = tempflow::roll_out(cpu, wide, prompts, steps, plan, {.seed = 5});
    CHECK(support::same_bits(found.samples(), expected.samples()));
    CHECK(support::same_bits(found.states(), expected.states()));
    CHECK(std::ranges::equal(found.log_probs(), expected.log_probs()));
    const std::vector<double> advantages(static_cast<std::size_t>(found.samples().rows()), 1.0),
        weights(static_cast<std::size_t>(steps.steps()), 1.0);
    auto batches = tempflow::minibatches(found, advantages, weights, {.size = 5});
    CHECK(tempflow::rescore(cpu, mixed, batches).max_abs == 0);
  }
}

TEST_CASE("the cost of a rollout counts velocities in their own type", "[storage]") {
  const auto steps = tempflow::make_chain(tempflow::sd3_sigmas(5), tempflow::flow_sde{0.7});
  const auto plan = tempflow::branch_plan{.seeds_per_prompt = 2, .explorations = 3}.on(steps);
  const auto wide = tempflow::cost_of(plan, 2, 1000, 4), mixed = tempflow::cost_of(plan, 2, 1000, 4, 2);
  CHECK(mixed.bytes == wide.bytes);
  const index_t largest_call = (wide.working_bytes - mixed.working_bytes) / 2000;
  CHECK(largest_call > 0);
  CHECK(wide.working_bytes - mixed.working_bytes == largest_call * 2000);
}
