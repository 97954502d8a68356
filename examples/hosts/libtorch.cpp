// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A group of six transitions in a host on LibTorch (docs/hosts.md).

#include <ATen/ATen.h>

#include <cstdio>
#include <vector>

#include <tempflow/interop/torch_loss.hpp>
#include <tempflow/interop/torch_threads.hpp>
#include <tempflow/tempflow.hpp>

namespace tf = tempflow;

int main() {
  constexpr int samples = 6, elements = 1024;
  const at::Tensor rows = at::arange(samples).unsqueeze(1), columns = at::arange(elements);
  const at::Tensor x = (7 * rows + columns).remainder(11).sub(5).to(at::kFloat) / 4;
  const at::Tensor weight = at::full({1}, 0.5f).requires_grad_();

  const auto backend = tf::torch_backend();  // torch's own threads
  const auto chain = tf::make_chain(tf::sd3_sigmas(10), tf::flow_sde{.noise_level = 0.7});
  at::Tensor v = x * weight;  // your model
  v.retain_grad();
  const at::Tensor taken = v.detach(), y = at::empty_like(x);
  std::vector<tf::noise_id> ids(samples);
  for (std::uint32_t i = 0; i < samples; ++i) ids[i] = {.seed = i, .step = 3};
  std::vector<double> log_probs(samples);
  const auto states = tf::batch_view_of<const float>(x);
  tf::step(backend, states, tf::batch_view_of<const float>(taken), chain[3], {tf::noise_key{.seed = 1}, ids},
           tf::batch_view_of<float>(y), log_probs);
  const at::Tensor rewards = y.select(1, 0).to(at::kDouble);  // your reward
  const std::vector<std::int64_t> one_group(samples, 0);
  const auto advantages = tf::group_advantages(std::span(rewards.data_ptr<double>(), samples), one_group);

  tf::policy_batch<float> batch;
  batch.x = states;
  batch.y = tf::batch_view_of<const float>(y);
  batch.transitions = chain[3];
  batch.old_log_probs = log_probs;
  batch.advantages = advantages.values;
  const auto [loss, statistics] = tf::policy_loss(backend, batch, v, at::Tensor(), tf::clipped_grpo{});
  loss.backward();  // on to weight.grad()
  std::printf("log-ratio %g, dL/dv %.9g\n", statistics.max_abs_log_ratio, v.grad()[0][0].item<float>());
}
