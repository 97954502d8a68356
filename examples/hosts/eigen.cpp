// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A group of six transitions in a host on Eigen (docs/hosts.md).

#include <cstdint>
#include <cstdio>
#include <vector>

#include <tempflow/interop/eigen.hpp>
#include <tempflow/tempflow.hpp>

namespace tf = tempflow;

int main() {
  constexpr int samples = 6, elements = 1024;
  Eigen::MatrixXf x(elements, samples);  // a column is a sample
  for (int i = 0; i < samples; ++i) {
    for (int e = 0; e < elements; ++e) x(e, i) = float((7 * i + e) % 11 - 5) / 4;
  }
  const Eigen::MatrixXf v = x / 2;  // your model
  Eigen::MatrixXf y(elements, samples), grad_v(elements, samples);

  const tf::cpu_backend cpu;
  const auto chain = tf::make_chain(tf::sd3_sigmas(10), tf::flow_sde{.noise_level = 0.7});
  const auto states = tf::batch_view_of(x);
  const auto velocities = tf::batch_view_of(v);
  std::vector<tf::noise_id> ids(samples);
  for (std::uint32_t i = 0; i < samples; ++i) ids[i] = {.seed = i, .step = 3};
  std::vector<double> log_probs(samples), rewards(samples);
  tf::step(cpu, states, velocities, chain[3], {tf::noise_key{.seed = 1}, ids}, tf::batch_view_of(y),
           log_probs);
  Eigen::Map<Eigen::RowVectorXd>(rewards.data(), samples) = y.row(0).cast<double>();  // your reward
  const std::vector<std::int64_t> one_group(samples, 0);
  const auto advantages = tf::group_advantages(rewards, one_group);

  tf::policy_batch<float> batch;
  batch.x = states;
  batch.y = tf::batch_view_of(y);
  batch.transitions = chain[3];
  batch.old_log_probs = log_probs;
  batch.advantages = advantages.values;
  const auto statistics =
      tf::policy_loss(cpu, batch, velocities, {}, tf::clipped_grpo{}, tf::batch_view_of(grad_v));
  std::printf("log-ratio %g, dL/dv %.9g\n", statistics.max_abs_log_ratio, grad_v(0, 0));
}
