// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// docs/how-to/new-objective.md

#include <algorithm>
#include <cmath>
#include <tempflow/tempflow.hpp>
#include <vector>

#include "how_to.hpp"

namespace tf = tempflow;

// Simple policy optimisation (arXiv 2401.16025): a penalty in place of the clip.
//   L = w (-A r + |A| (r - 1)^2 / (2 epsilon)),   r = exp(log-ratio)
struct simple_policy_optimization {
  double epsilon = 1e-4;
  double kl_beta = 0;
  tf::kl_denominator kl_over = tf::kl_denominator::transition_variance;

  TEMPFLOW_HD tf::surrogate operator()(double log_ratio, double advantage, double weight) const {
    const double ratio = std::exp(log_ratio), away = ratio - 1, strength = std::abs(advantage) / epsilon;
    return {.loss = weight * (-advantage * ratio + strength * away * away / 2),
            .slope = weight * (-advantage + strength * away) * ratio,  // d loss / d log-ratio
            .below = ratio < 1 - epsilon,
            .above = 1 + epsilon < ratio};
  }

  void validate() const {
    if (!(epsilon > 0)) throw tf::value_error("simple_policy_optimization: epsilon must be positive");
  }
};

// The slope is the loss's derivative.
static bool slope_is_right(const auto& objective) {
  for (const double advantage : {-2.0, 0.5})
    for (double l = -3e-4; l <= 3e-4; l += 1e-5) {
      const double h = 1e-7, up = objective(l + h, advantage, 1).loss,
                   down = objective(l - h, advantage, 1).loss;
      if (std::abs((up - down) / (2 * h) - objective(l, advantage, 1).slope) > 1e-5) return false;
    }
  return true;
}

bool new_objective() {
  const tf::reference_backend backend;  // any; the oracle compiles fastest
  const auto chain = tf::make_chain(tf::sd3_sigmas(10), tf::flow_sde{});
  const std::vector<tf::noise_id> ids{{.seed = 0}, {.seed = 1}};
  const double advantages[] = {1, -1};
  tf::batch_buffer<float> x(2, 64), v(2, 64), y(2, 64), gradient(2, 64);
  std::vector<double> log_probs(2);
  tf::fill_noise(backend, {tf::noise_key{.seed = 1}, ids}, x);
  tf::step(backend, x, v, chain[3], {tf::noise_key{.seed = 2}, ids}, y, log_probs);

  tf::policy_batch<float> batch;
  batch.x = x;
  batch.y = y;
  batch.transitions = chain[3];
  batch.old_log_probs = log_probs;
  batch.advantages = advantages;
  const auto statistics = tf::policy_loss(backend, batch, v, {}, simple_policy_optimization{}, gradient);

  // On policy, r = 1, it has the gradient of every ratio's loss.
  tf::batch_buffer<float> clipped(2, 64);
  tf::policy_loss(backend, batch, v, {}, tf::clipped_grpo{}, clipped);
  const float* slopes = gradient.view().data();
  return slope_is_right(simple_policy_optimization{}) && statistics.max_abs_log_ratio == 0 &&
         std::equal(slopes, slopes + 2 * 64, clipped.view().data());
}
