// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
// A flow model that draws four blobs learns, from a reward alone, to draw the ones on the right.
#include <cmath>
#include <cstdio>
#include <tempflow/tempflow.hpp>
namespace tf = tempflow;

// Your model. Here: the exact velocity of four Gaussian blobs with trainable shares softmax(logits).
struct four_blobs {
  using value_type = float;
  double logits[4] = {};

  tf::index_t dimension() const { return 2; }

  void velocity(tf::batch_view<const float> x, std::span<const double> sigma, std::span<const tf::index_t>,
                tf::batch_view<float> v) const {
    for (tf::index_t i = 0; i < x.rows(); ++i) {
      const auto [share, mean, data] = denoise(x.row(i), sigma[i]);
      for (int d = 0; d < 2; ++d) v.row(i)[d] = float((x.row(i)[d] - data[d]) / sigma[i]);
    }
  }

  void backward(const tf::minibatch<float>& batch, tf::batch_view<float> grad_v, double gradient[4]) const {
    for (tf::index_t i = 0; i < batch.x.rows(); ++i) {
      const auto [share, mean, data] = denoise(batch.x.row(i), batch.sigma[i]);
      for (int k = 0; k < 8; ++k) {
        const int blob = k / 2, d = k % 2;
        gradient[blob] -= grad_v.row(i)[d] * share[blob] * (mean[blob][d] - data[d]) / batch.sigma[i];
      }
    }
  }

 private:
  struct posterior {
    double share[4], mean[4][2], data[2];  // p(blob | x), E[data | x, blob], E[data | x]
  };
  posterior denoise(const float* x, double sigma) const {
    const double s = 1 - sigma, blob = 0.04, variance = s * s * blob + sigma * sigma;
    posterior p{};
    double total = 0;
    for (int k = 0; k < 4; ++k) {
      const double center[2] = {k % 2 ? 2.0 : -2.0, k / 2 ? 2.0 : -2.0};
      const double away[2] = {x[0] - s * center[0], x[1] - s * center[1]};
      for (int d = 0; d < 2; ++d) p.mean[k][d] = center[d] + s * blob / variance * away[d];
      p.share[k] = std::exp(logits[k] - (away[0] * away[0] + away[1] * away[1]) / (2 * variance));
      total += p.share[k];
    }
    for (double& share : p.share) share /= total;
    for (int k = 0; k < 8; ++k) p.data[k % 2] += p.share[k / 2] * p.mean[k / 2][k % 2];
    return p;
  }
};

int main() {
  const auto preset = tf::presets::sd3_5_medium();  // 10 steps, noise level 0.7, K = 6, ...
  const auto chain = tf::make_chain(preset.sigmas(), preset.dynamics());
  const tf::branch_plan plan{.seeds_per_prompt = 64, .explorations = preset.explorations};
  const tf::cpu_backend cpu;
  const tf::index_t prompts[] = {0};
  four_blobs model;
  for (std::uint32_t update = 0; update <= 40; ++update) {
    auto rollout = tf::roll_out(cpu, model, prompts, chain, plan, {.seed = 42, .update = update});
    const auto samples = rollout.samples();
    std::vector<double> rewards;  // score the finished samples with anything
    for (tf::index_t i = 0; i < samples.rows(); ++i) rewards.push_back(samples.row(i)[0] > 0 ? 1 : 0);
    const auto advantages = tf::group_advantages(rewards, rollout.seed_groups());
    const auto weights = tf::noise_aware_weights(chain, rollout.trained_steps());
    double gradient[4] = {};
    for (const auto& batch : tf::minibatches(rollout, advantages, weights, {.size = 512})) {
      tf::batch_buffer<float> v(batch.x.rows(), 2), grad_v(batch.x.rows(), 2);
      model.velocity(batch.x, batch.sigma, batch.prompts, v);
      tf::policy_loss(cpu, batch, v, {}, tf::clipped_grpo{}, grad_v);
      model.backward(batch, grad_v, gradient);
    }
    for (int k = 0; k < 4; ++k) model.logits[k] -= 10 * gradient[k];
    const double share = 100 * advantages.statistics.reward_mean;
    if (update % 10 == 0) std::printf("update %2u: %.0f %% on the right\n", update, share);
  }
}
