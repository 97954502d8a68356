// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Full trajectories: on a linear-Gaussian chain with a quadratic reward, the expected gradient of policy_loss
// is the policy gradient -d E[R] / d theta, known in closed form.

#include <cstdint>
#include <vector>

#include "support/linear_gaussian.hpp"
#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/timestep_weights.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/roll_out.hpp"

using support::linear_policy;
using support::reward_dimension;
using tempflow::batch_buffer;
using tempflow::index_t;
using tempflow::log_prob_reduction;

namespace {

constexpr linear_policy policy{0.6, -0.2};
constexpr tempflow::noise_key key{.seed = 17};
const tempflow::clipped_grpo wide_open{.clip = {1e9, 1e9}, .advantage_clip = 1e9};

tempflow::chain stochastic_chain() {
  return tempflow::make_chain(tempflow::shifted_linspace_sigmas(4, 3), tempflow::flow_sde{0.7});
}

// -dR/dtheta estimated by each of `count` trajectories, from the primitives alone.
template <class T>
support::gradient_samples estimate(index_t count, log_prob_reduction reduction) {
  const tempflow::cpu_backend cpu(1);
  const auto steps = stochastic_chain();
  const tempflow::log_prob_convention convention{.reduction = reduction};
  const auto rows = static_cast<std::size_t>(count);
  std::vector<tempflow::noise_id> ids(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    ids[i] = {.prompt = static_cast<std::uint32_t>(i), .step = tempflow::initial_noise_step};
  }
  std::vector<batch_buffer<T>> states(1, batch_buffer<T>(count, reward_dimension)), velocities;
  std::vector<std::vector<double>> log_probs;
  tempflow::fill_noise(cpu, {key, ids}, states[0].view());
  for (index_t j = 0; j < steps.steps(); ++j) {
    for (auto& id : ids) id.step = static_cast<std::uint16_t>(j);
    states.emplace_back(count, reward_dimension);
    velocities.emplace_back(count, reward_dimension);
    log_probs.emplace_back(rows);
    const auto at = static_cast<std::size_t>(j);
    support::linear_velocity(policy, states[at].view(), velocities[at].view());
    tempflow::step(cpu, states[at].view(), velocities[at], steps[j], {key, ids}, states[at + 1],
                   log_probs[at], convention);
  }
  // A constant baseline, independent of what was drawn.
  const double baseline = support::trajectory_gradient(steps, policy).reward;
  std::vector<double> advantages(rows);
  for (index_t i = 0; i < count; ++i) {
    advantages[static_cast<std::size_t>(i)] = support::reward_of(states.back().view().row(i)) - baseline;
  }
  std::vector<linear_policy> sums(rows);
  batch_buffer<double> gradient(count, reward_dimension);
  for (index_t j = 0; j < steps.steps(); ++j) {
    const auto at = static_cast<std::size_t>(j);
    const tempflow::policy_batch<T> batch{.x = states[at],
                                          .y = states[at + 1],
                                          .transitions = steps[j],
                                          .old_log_probs = log_probs[at],
                                          .advantages = advantages,
                                          .convention = convention,
                                          .mean_over = 1};
    tempflow::policy_loss(cpu, batch, velocities[at].view(), {}, wide_open, gradient.view());
    for (index_t i = 0; i < count; ++i) {
      const auto part = support::backward(states[at].view().row(i), gradient.view().row(i));
      sums[static_cast<std::size_t>(i)].w += part.w;
      sums[static_cast<std::size_t>(i)].b += part.b;
    }
  }
  support::gradient_samples samples;
  for (const auto& sum : sums) samples.add(sum);
  return samples;
}

linear_policy scaled(const linear_policy& by, double factor) { return {factor * by.w, factor * by.b}; }

}  // namespace

TEST_CASE("the closed form is the derivative of the closed-form reward", "[closed_form]") {
  const auto steps = stochastic_chain();
  const support::trajectory_gradient at(steps, policy);
  const double h = 1e-6;
  const auto reward = [&](double dw, double db) {
    return support::trajectory_gradient(steps, {policy.w + dw, policy.b + db}).reward;
  };
  CHECK(at.derivative.w == Approx((reward(h, 0) - reward(-h, 0)) / (2 * h)).epsilon(1e-8));
  CHECK(at.derivative.b == Approx((reward(0, h) - reward(0, -h)) / (2 * h)).epsilon(1e-8));
}

TEMPLATE_TEST_CASE("with summed log-probs the expected gradient of full trajectories is the policy gradient",
                   "[closed_form]", float, double) {
  const auto expected = scaled(support::trajectory_gradient(stochastic_chain(), policy).derivative, -1);
  estimate<TestType>(200000, log_prob_reduction::sum).check(expected, expected);
}

TEST_CASE("with mean log-probs the expected gradient is the policy gradient divided by the elements",
          "[closed_form]") {
  const auto expected =
      scaled(support::trajectory_gradient(stochastic_chain(), policy).derivative, -1.0 / reward_dimension);
  estimate<double>(200000, log_prob_reduction::mean).check(expected, expected);
}

TEST_CASE("flow_plan, group advantages and minibatches estimate (G - 1) / G of the policy gradient",
          "[closed_form]") {
  // The group's mean holds the sample itself: R_i - mean = (1 - 1/G) (R_i - mean of the others).
  constexpr index_t group = 4, prompts = 30000;
  const tempflow::cpu_backend cpu(1);
  const auto steps = stochastic_chain();
  auto model = tempflow::flow_model<double>(
      reward_dimension, [](auto x, auto, auto, auto v) { support::linear_velocity(policy, x, v); });
  std::vector<index_t> prompt_ids(prompts);
  for (index_t i = 0; i < prompts; ++i) prompt_ids[static_cast<std::size_t>(i)] = i;
  const tempflow::flow_plan plan{.samples_per_prompt = group,
                                 .trained_steps = {0, 1, 2, 3},
                                 .convention = {.reduction = log_prob_reduction::sum}};
  auto rollout = tempflow::roll_out(cpu, model, prompt_ids, steps, plan, key);
  std::vector<double> rewards;
  for (index_t i = 0; i < rollout.samples().rows(); ++i) {
    rewards.push_back(support::reward_of(rollout.samples().row(i)));
  }
  const auto advantages = tempflow::group_advantages(rewards, rollout.prompt_groups(),
                                                     {.scale = tempflow::advantage_scale::none});
  // Groups are independent: one estimate for each, the sum over its rows.
  std::vector<linear_policy> of_group(prompts);
  batch_buffer<double> v(1000, reward_dimension), gradient(1000, reward_dimension);
  const auto weights = tempflow::uniform_weights(steps);
  for (const auto& batch :
       tempflow::minibatches(rollout, advantages, weights, {.size = 1000, .shuffle = key})) {
    const auto velocity = v.view().slice(0, batch.x.rows());
    model.velocity(batch.x, batch.sigma, batch.prompts, velocity);
    tempflow::policy_loss(cpu, batch, velocity, {}, wide_open, gradient.view().slice(0, batch.x.rows()));
    for (index_t i = 0; i < batch.x.rows(); ++i) {
      const auto part = support::backward(batch.x.row(i), gradient.view().row(i));
      auto& sum = of_group[static_cast<std::size_t>(batch.prompts[static_cast<std::size_t>(i)])];
      // The loss is a mean over all rows: undo it, and average over the group.
      const double share = static_cast<double>(rollout.rows()) / group;
      sum.w += share * part.w;
      sum.b += share * part.b;
    }
  }
  support::gradient_samples samples;
  for (const auto& sum : of_group) samples.add(sum);
  const auto expected =
      scaled(support::trajectory_gradient(steps, policy).derivative, -(group - 1.0) / group);
  samples.check(expected, expected);
}
