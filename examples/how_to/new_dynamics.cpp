// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// docs/how-to/new-dynamics.md

#include <cmath>
#include <cstdio>
#include <tempflow/tempflow.hpp>

#include "how_to.hpp"

namespace tf = tempflow;

// Flow-GRPO's SDE without its pole at pure noise: g = a sqrt(sigma).
struct square_root_sde {
  using deterministic = tf::ode;  // how trunks and branches go on without noise

  double noise_level = 0.7;

  tf::transition operator()(const tf::sigma_step& at) const {
    return tf::langevin(at, noise_level * std::sqrt(at.sigma));
  }
};

// Standard deviation of its samples, where the model is the exact velocity of data N(0, 0.5^2).
static double sampled_std(tf::index_t steps) {
  auto model = tf::flow_model<float>(1024, [](auto x, auto sigma, auto, auto v) {
    for (tf::index_t i = 0; i < x.rows(); ++i) {
      const double t = sigma[i], data = 0.25 * (1 - t) * (1 - t);
      for (tf::index_t e = 0; e < 1024; ++e)
        v.row(i)[e] = float((t - 0.25 * (1 - t)) / (data + t * t) * x.row(i)[e]);
    }
  });
  const auto chain = tf::make_chain(tf::sd3_sigmas(steps), square_root_sde{.noise_level = 0.7});
  const tf::index_t prompts[] = {0};
  const auto rollout = tf::roll_out(tf::cpu_backend{}, model, prompts, chain,
                                    tf::flow_plan{.samples_per_prompt = 64}, {.seed = 1});
  double squares = 0;
  for (tf::index_t i = 0; i < 64; ++i)
    for (tf::index_t e = 0; e < 1024; ++e) squares += std::pow(rollout.samples().row(i)[e], 2);
  return std::sqrt(squares / (64 * 1024));
}

bool new_dynamics() {
  const double coarse = std::abs(sampled_std(20) - 0.5), fine = std::abs(sampled_std(80) - 0.5);
  std::printf("standard deviations are off by %.4f at 20 steps, %.4f at 80\n", coarse, fine);
  return fine < coarse / 2;
}
