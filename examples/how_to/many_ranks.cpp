// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// docs/how-to/many-ranks.md

#include <cmath>
#include <cstdint>
#include <tempflow/tempflow.hpp>
#include <vector>

#include "how_to.hpp"

namespace tf = tempflow;

constexpr tf::index_t latent_size = 64;

static auto make_model() {
  return tf::flow_model<float>(latent_size, [](auto x, auto, auto, auto v) {
    for (tf::index_t i = 0; i < x.rows(); ++i)
      for (tf::index_t e = 0; e < latent_size; ++e) v.row(i)[e] = x.row(i)[e] / 2;
  });
}

static std::vector<double> score(const auto& rollout) {
  std::vector<double> rewards;
  for (tf::index_t i = 0; i < rollout.samples().rows(); ++i) rewards.push_back(rollout.samples().row(i)[0]);
  return rewards;
}

// The gradient of the loss by a parameter that scales v: the sum over rows of v dL/dv.
static double gradient_of(tf::trajectories<float>& rollout, std::span<const double> advantages,
                          tf::index_t rows_of_all) {
  auto model = make_model();
  const auto weights = tf::uniform_weights(rollout.steps());
  double gradient = 0;
  for (auto batch : tf::minibatches(rollout, advantages, weights, {.size = 8})) {
    batch.mean_over = rows_of_all;  // the mean is over the rows of all ranks
    tf::batch_buffer<float> v(batch.x.rows(), latent_size), grad_v(batch.x.rows(), latent_size);
    model.velocity(batch.x, batch.sigma, batch.prompts, v);
    tf::policy_loss(tf::cpu_backend{}, batch, v, {}, tf::clipped_grpo{}, grad_v);
    for (tf::index_t i = 0; i < v.rows(); ++i)
      for (tf::index_t e = 0; e < latent_size; ++e)
        gradient += double{v.view().row(i)[e]} * grad_v.view().row(i)[e];
  }
  return gradient;
}

bool many_ranks() {
  const tf::cpu_backend cpu;
  const auto chain = tf::make_chain(tf::sd3_sigmas(6), tf::flow_sde{});
  const tf::noise_key key{.seed = 42, .update = 7};  // the same on all ranks
  const tf::branch_plan whole{.seeds_per_prompt = 4, .explorations = 6};
  const tf::index_t prompts[] = {0, 1};
  auto model = make_model();

  // On each of two ranks: its share of every prompt's initial noises, scored where it lies.
  std::vector<tf::trajectories<float>> rollouts;
  std::vector<double> rewards;  // all-gathered, rank after rank
  std::vector<std::int64_t> groups;
  tf::index_t rows = 0;  // all-reduced
  for (tf::index_t rank = 0; rank < 2; ++rank) {
    tf::branch_plan share = whole;
    share.seeds_per_prompt = whole.seeds_per_prompt / 2;
    share.first_seed = rank * share.seeds_per_prompt;
    auto& rollout = rollouts.emplace_back(tf::roll_out(cpu, model, prompts, chain, share, key));
    const auto scored = score(rollout);
    const auto ids = rollout.prompt_groups();
    rewards.insert(rewards.end(), scored.begin(), scored.end());
    groups.insert(groups.end(), ids.begin(), ids.end());
    rows += rollout.rows();
  }

  // On each rank: the advantages of all samples, of which it takes its own; its part of the gradient.
  const auto advantages = tf::group_advantages(rewards, groups);
  double gradient = 0;  // all-reduced: a sum
  std::span<const double> rest(advantages.values);
  for (auto& rollout : rollouts) {
    const auto own = static_cast<std::size_t>(rollout.samples().rows());
    gradient += gradient_of(rollout, rest.first(own), rows);
    rest = rest.subspan(own);
  }

  // One process has the same numbers; but for the order of the last sum, the same bits.
  auto alone = tf::roll_out(cpu, model, prompts, chain, whole, key);
  const auto expected = tf::group_advantages(score(alone), alone.prompt_groups());
  const double of_one = gradient_of(alone, expected.values, alone.rows());
  return std::abs(gradient - of_one) <= 1e-10 * std::abs(of_one) && rows == alone.rows();
}
