// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Branches: one stochastic step, completed by the ODE. On a linear-Gaussian chain with a quadratic reward,
// the expected gradient of each step is known in closed form, given the trunk's state.

#include <cmath>
#include <span>
#include <vector>

#include "support/linear_gaussian.hpp"
#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/timestep_weights.hpp"
#include "tempflow/ops/log_prob.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/roll_out.hpp"

using support::linear_policy;
using support::reward_dimension;
using tempflow::batch_buffer;
using tempflow::branch_plan;
using tempflow::index_t;

namespace {

constexpr linear_policy policy{0.6, -0.2};
constexpr tempflow::noise_key key{.seed = 23};
constexpr index_t prompts = 120;
const tempflow::clipped_grpo wide_open{.clip = {1e9, 1e9}, .advantage_clip = 1e9};

tempflow::chain stochastic_chain() {
  return tempflow::make_chain(tempflow::shifted_linspace_sigmas(5, 3), tempflow::flow_sde{0.7});
}

tempflow::trajectories<double> roll_out(const tempflow::chain& steps, const branch_plan& plan) {
  auto model = tempflow::flow_model<double>(
      reward_dimension, [](auto x, auto, auto, auto v) { support::linear_velocity(policy, x, v); });
  const auto ids = tempflow::step_range(0, prompts);
  return tempflow::roll_out(tempflow::cpu_backend(1), model, ids, steps, plan, key);
}

std::vector<double> rewards_of(const tempflow::trajectories<double>& rollout) {
  std::vector<double> rewards;
  for (index_t i = 0; i < rollout.samples().rows(); ++i) {
    rewards.push_back(support::reward_of(rollout.samples().row(i)));
  }
  return rewards;
}

// Sum over a group of siblings of the rows' -dL/dtheta, for each group in the order of rows.
std::vector<linear_policy> gradients_of_groups(tempflow::trajectories<double>& rollout, index_t explorations,
                                               std::span<const double> advantages,
                                               std::span<const double> weights, const linear_policy& now) {
  std::vector<linear_policy> groups(static_cast<std::size_t>(rollout.rows() / explorations));
  const index_t size = 777;
  batch_buffer<double> v(size, reward_dimension), gradient(size, reward_dimension);
  for (const auto& batch :
       tempflow::minibatches(rollout, advantages, weights, {.size = size, .shuffle = key})) {
    const auto velocity = v.view().slice(0, batch.x.rows());
    support::linear_velocity(now, batch.x, velocity);
    tempflow::policy_loss(tempflow::cpu_backend(1), batch, velocity, {}, wide_open,
                          gradient.view().slice(0, batch.x.rows()));
    for (index_t i = 0; i < batch.x.rows(); ++i) {
      const auto part = support::backward(batch.x.row(i), gradient.view().row(i));
      auto& sum = groups[static_cast<std::size_t>(batch.rows[static_cast<std::size_t>(i)] / explorations)];
      sum.w -= static_cast<double>(rollout.rows()) * part.w;  // the loss is a mean over all rows
      sum.b -= static_cast<double>(rollout.rows()) * part.b;
    }
  }
  return groups;
}

// The ODE's knots of a branch born at step i: all remaining ones, or straight to 0.
std::vector<double> remaining(const tempflow::chain& steps, index_t i, bool straight) {
  const auto all = steps.sigmas().subspan(static_cast<std::size_t>(i + 1));
  return straight ? std::vector<double>{all.front(), all.back()}
                  : std::vector<double>(all.begin(), all.end());
}

// Compares each group's gradient with its own expectation, and their sum with zero: trunk states are no noise
// thread.
template <class Expectation>
void check_groups(const tempflow::trajectories<double>& rollout, index_t explorations,
                  const std::vector<linear_policy>& groups, const Expectation& expectation) {
  support::gradient_samples off;
  std::vector<linear_policy> expected_sizes;
  double size_w = 0, size_b = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto& row = rollout.row(static_cast<index_t>(g) * explorations);
    const linear_policy expected = expectation(row.step, rollout.states().row(row.state));
    off.add({groups[g].w - expected.w, groups[g].b - expected.b});
    size_w += std::abs(expected.w) / static_cast<double>(groups.size());
    size_b += std::abs(expected.b) / static_cast<double>(groups.size());
  }
  off.check({0, 0}, {size_w, size_b});
}

}  // namespace

TEST_CASE("branches and seed groups estimate (K - 1) w_i times the policy gradient of their step",
          "[closed_form]") {
  const auto steps = stochastic_chain();
  for (const bool straight : {false, true}) {
    const branch_plan plan{.seeds_per_prompt = 50,
                           .explorations = 6,
                           .branch_steps = {0, 1, 2, 3, 4},
                           .completion_steps = {straight ? 1 : 0},
                           .convention = {.reduction = tempflow::log_prob_reduction::sum}};
    auto rollout = roll_out(steps, plan);
    const auto advantages = tempflow::group_advantages(rewards_of(rollout), rollout.seed_groups(),
                                                       {.scale = tempflow::advantage_scale::none});
    const auto weights = tempflow::noise_aware_weights(steps, rollout.trained_steps());
    const auto groups = gradients_of_groups(rollout, plan.explorations, advantages, weights, policy);
    INFO((straight ? "completed in one step" : "completed along the grid"));
    check_groups(rollout, plan.explorations, groups, [&](index_t i, const double* x) {
      const support::completion to_the_end(remaining(steps, i, straight), policy);
      const auto exact = support::branch_gradient(steps[i], x, policy, to_the_end);
      const double factor = static_cast<double>(plan.explorations - 1) * weights[static_cast<std::size_t>(i)];
      return linear_policy{factor * exact.w, factor * exact.b};
    });
  }
}

TEST_CASE("off policy the ratio makes old branches estimate the new policy's gradient", "[closed_form]") {
  const auto steps = stochastic_chain();
  const branch_plan plan{.seeds_per_prompt = 50,
                         .explorations = 6,
                         .branch_steps = {0, 1, 2, 3},
                         .convention = {.reduction = tempflow::log_prob_reduction::sum}};
  auto rollout = roll_out(steps, plan);
  const auto rewards = rewards_of(rollout);
  // A baseline that depends on the trunk's state alone: the reward of the old policy's mean.
  std::vector<double> advantages;
  for (index_t i = 0; i < rollout.rows(); ++i) {
    const auto& row = rollout.row(i);
    const support::completion to_the_end(remaining(steps, row.step, false), policy);
    double finished[reward_dimension];
    for (index_t d = 0; d < reward_dimension; ++d) {
      const double x = rollout.states().row(row.state)[d];
      const double mean = steps[row.step].alpha * x + steps[row.step].beta * (policy.w * x + policy.b);
      finished[d] = to_the_end.p * mean + to_the_end.q;
    }
    advantages.push_back(rewards[static_cast<std::size_t>(row.sample)] - support::reward_of(finished));
  }
  constexpr linear_policy moved{0.75, -0.1};
  const auto groups =
      gradients_of_groups(rollout, plan.explorations, advantages, tempflow::uniform_weights(steps), moved);
  check_groups(rollout, plan.explorations, groups, [&](index_t i, const double* x) {
    // Branches are finished by the old policy; theta acts in the branching step.
    const support::completion to_the_end(remaining(steps, i, false), policy);
    const auto exact = support::branch_gradient(steps[i], x, moved, to_the_end);
    const auto k = static_cast<double>(plan.explorations);
    return linear_policy{k * exact.w, k * exact.b};
  });
}

TEST_CASE("on old samples the ratio averages to 1 and the log-ratio to -KL", "[closed_form]") {
  // E_old[r] = 1, and with mean log-probs E_old[log r] = -mean((mu - mu_old)^2) / (2 std^2).
  const auto steps = stochastic_chain();
  auto rollout = roll_out(steps, {.seeds_per_prompt = 50, .explorations = 6});
  constexpr linear_policy moved{0.75, -0.1};
  const index_t rows = rollout.rows();
  std::vector<double> ratios, off;
  batch_buffer<double> v(1, reward_dimension), v_old(1, reward_dimension);
  std::vector<double> log_prob(1);
  for (index_t i = 0; i < rows; ++i) {
    const auto& row = rollout.row(i);
    const auto x = rollout.states().slice(row.state, 1);
    support::linear_velocity(moved, x, v.view());
    support::linear_velocity(policy, x, v_old.view());
    tempflow::log_prob(tempflow::cpu_backend(1), x, v, rollout.states().slice(row.successor, 1),
                       steps[row.step], log_prob);
    const double log_ratio = log_prob[0] - rollout.log_probs()[static_cast<std::size_t>(i)];
    double kl = 0;
    for (index_t d = 0; d < reward_dimension; ++d) {
      const double shift = steps[row.step].beta * (v.view().row(0)[d] - v_old.view().row(0)[d]);
      kl += shift * shift / (2 * steps[row.step].std * steps[row.step].std * reward_dimension);
    }
    ratios.push_back(std::exp(reward_dimension * log_ratio));
    off.push_back(log_ratio + kl);
  }
  const auto ratio = support::mean_of(ratios), shift = support::mean_of(off);
  CHECK(std::abs(ratio.mean - 1) < 4 * ratio.standard_error);
  CHECK(ratio.standard_error < 0.01);
  CHECK(std::abs(shift.mean) < 4 * shift.standard_error);
  CHECK(shift.standard_error < 0.01);
}
