// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Rollouts under a condition that fixes elements: every state has them, the others are drawn as without it, and the
// losses of its minibatches see these alone.

#include "tempflow/rollout/fixed_elements.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "support/catch.hpp"
#include "support/masks.hpp"
#include "support/models.hpp"
#include "support/outputs.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/timestep_weights.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/rescore.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/rollout/tree_plan.hpp"

using support::mask_bytes;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::branch_plan;
using tempflow::cpu_backend;
using tempflow::fixed_elements;
using tempflow::index_t;

namespace {

constexpr index_t dimension = 37;
constexpr tempflow::noise_key key{.seed = 99, .update = 4};
const std::vector<index_t> prompts{7, 0, 4000000000};
const cpu_backend cpu(2);
const auto chain = tempflow::make_chain(tempflow::sd3_sigmas(6), tempflow::flow_sde{0.7});

/// Its velocity of an element depends on that element alone, so what is fixed cannot reach the others.
template <class T>
struct elementwise_model {
  using value_type = T;
  index_t dimension() const { return ::dimension; }
  void velocity(batch_view<const T> x, std::span<const double> sigma, std::span<const index_t>,
                batch_view<T> v) const {
    for (index_t i = 0; i < x.rows(); ++i) {
      for (index_t e = 0; e < x.columns(); ++e) {
        const double at = support::value_of(x.row(i)[e]);
        v.row(i)[e] = tempflow::store<T>(std::sin(at) + sigma[static_cast<std::size_t>(i)] * at);
      }
    }
  }
};

/// Elements of a row that are neither fixed to `values` nor what they are in `free`.
template <class T>
int wrong_elements(const T* row, const T* free, const T* values, const mask_bytes& mask) {
  int wrong = 0;
  for (index_t e = 0; e < dimension; ++e) {
    const T& expected = mask.counts(0, e) ? free[e] : values[e];
    wrong += std::memcmp(&row[e], &expected, sizeof(T)) == 0 ? 0 : 1;
  }
  return wrong;
}

template <class T, class Plan>
void check_plan(const Plan& plan) {
  elementwise_model<T> model;
  const mask_bytes mask(1, dimension, 3);
  const auto values = support::random_batch<T>(3, dimension, 11);
  auto rollout = tempflow::roll_out(cpu, model, prompts, chain, plan, key, {mask, values.view()});
  const auto free = tempflow::roll_out(cpu, model, prompts, chain, plan, key);
  REQUIRE(rollout.samples().rows() == free.samples().rows());
  REQUIRE(rollout.rows() == free.rows());

  int wrong = 0;
  const auto place_of = [&](index_t prompt) {
    return std::find(prompts.begin(), prompts.end(), prompt) - prompts.begin();
  };
  for (index_t i = 0; i < rollout.samples().rows(); ++i) {
    const index_t prompt = place_of(rollout.identities()[static_cast<std::size_t>(i)].prompt);
    wrong += wrong_elements(rollout.samples().row(i), free.samples().row(i), values.view().row(prompt), mask);
  }
  for (index_t i = 0; i < rollout.rows(); ++i) {
    const auto& row = rollout.row(i);
    const index_t prompt = place_of(row.noise.prompt);
    for (const index_t state : {row.state, row.successor}) {
      wrong += wrong_elements(rollout.states().row(state), free.states().row(state),
                              values.view().row(prompt), mask);
    }
  }
  CHECK(wrong == 0);

  // On policy: the log-probs of the rollout are those of the loss, to the bit.
  const std::vector<double> advantages(static_cast<std::size_t>(rollout.rows()), 1.0);
  const auto weights = tempflow::uniform_weights(chain);
  auto batches = tempflow::minibatches(rollout, advantages, weights,
                                       {.size = 5, .advantages = tempflow::advantage_of::rows});
  for (const auto& batch : batches) {
    REQUIRE(batch.mask.given());
    batch_buffer<T> v(batch.x.rows(), dimension);
    batch_buffer<tempflow::gradient_t<T>> gradient(batch.x.rows(), dimension);
    model.velocity(batch.x, batch.sigma, batch.prompts, v);
    const auto statistics = tempflow::policy_loss(
        cpu, batch, v, {}, {}, tempflow::as_row_objective(tempflow::clipped_grpo{}), gradient);
    CHECK(statistics.max_abs_log_ratio == 0);
    for (index_t i = 0; i < gradient.rows(); ++i) {
      for (index_t e = 0; e < dimension; ++e) {
        if (!mask.counts(0, e)) CHECK(support::value_of(gradient.view().row(i)[e]) == 0);
      }
    }
  }
  CHECK(tempflow::rescore(cpu, model, batches).max_abs == 0);
}

}  // namespace

TEST_CASE(
    "fixed elements stay from the initial noise to the sample, and the others are drawn as without them") {
  check_plan<float>(branch_plan{.seeds_per_prompt = 2, .explorations = 3});
  check_plan<tempflow::bfloat16>(branch_plan{.seeds_per_prompt = 2, .explorations = 3});
  check_plan<float>(branch_plan{.explorations = 2, .antithetic = true, .max_batch = 4});
  check_plan<float>(tempflow::flow_plan{.samples_per_prompt = 4, .trained_steps = {1, 3}});
  check_plan<float>(tempflow::tree_plan{.trees_per_prompt = 2, .split_steps = {0, 2}});
}

TEST_CASE("steps of second order keep fixed elements, too") {
  check_plan<float>(branch_plan{.explorations = 2, .completion_solver = tempflow::ode_solver::dpm_solver_2m});
  check_plan<tempflow::bfloat16>(
      branch_plan{.explorations = 2, .completion_solver = tempflow::ode_solver::dpm_solver_2m});
}

TEST_CASE("one row of fixed values serves all prompts, and a model that sees them feels them") {
  support::row_model<float> model(dimension);
  const mask_bytes mask(1, dimension, 3);
  const auto one = support::random_batch<float>(1, dimension, 11);
  batch_buffer<float> each(3, dimension);
  for (index_t p = 0; p < 3; ++p) std::copy_n(one.view().row(0), dimension, each.view().row(p));
  const branch_plan plan{.explorations = 2};
  const auto shared = tempflow::roll_out(cpu, model, prompts, chain, plan, key, {mask, one.view()});
  const auto given = tempflow::roll_out(cpu, model, prompts, chain, plan, key, {mask, each.view()});
  const auto free = tempflow::roll_out(cpu, model, prompts, chain, plan, key);
  CHECK(support::same_bits(shared.samples(), given.samples()));
  CHECK_FALSE(support::same_bits(shared.samples(), free.samples()));
}

TEST_CASE("fixed elements that do not fit are refused before the model is called") {
  support::row_model<float> model(dimension);
  const mask_bytes mask(1, dimension, 3), of_each(3, dimension, 3), short_mask(1, dimension - 1, 3);
  const auto values = support::random_batch<float>(3, dimension, 11);
  const auto run = [&](fixed_elements<float> fixed, branch_plan plan = {}) {
    plan.explorations = 2;
    return tempflow::roll_out(cpu, model, prompts, chain, plan, key, fixed);
  };
  CHECK_THROWS_AS(run({of_each, values.view()}), tempflow::shape_error);
  CHECK_THROWS_AS(run({short_mask, values.view()}), tempflow::shape_error);
  CHECK_THROWS_AS(run({mask, values.view().slice(0, 2)}), tempflow::shape_error);
  CHECK_THROWS_AS(run({mask, {}}), tempflow::shape_error);
  CHECK_THROWS_AS(run({{}, values.view()}), tempflow::shape_error);
  CHECK_THROWS_AS(run({mask, values.view()}, {.redraw = true}), tempflow::value_error);
  const std::vector<std::uint8_t> none(dimension, 0);
  CHECK_THROWS_AS(run({tempflow::element_mask(none.data(), 1, dimension), values.view()}),
                  tempflow::value_error);
  CHECK(model.calls == 0);
}
