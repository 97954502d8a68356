// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Links the compiled operations of the component ops: bf16 states with a gradient in fp32, by the library's objective and
// by one of ours.

#include <tempflow/compiled.hpp>
#include <vector>

namespace tf = tempflow;

struct policy_gradient {
  double kl_beta = 0;
  tf::kl_denominator kl_over = tf::kl_denominator::transition_variance;

  tf::surrogate operator()(double log_ratio, double advantage, double weight) const {
    return {.loss = -weight * advantage * log_ratio, .slope = -weight * advantage};
  }
  void validate() const {}
};

int main() {
  const tf::cpu_backend cpu(1);
  const tf::transition step{.alpha = 1, .beta = -0.1, .std = 0.2};
  tf::batch_buffer<tf::bfloat16> x(1, 100), v(1, 100), y(1, 100);
  tf::batch_buffer<float> gradient(1, 100);
  std::vector<double> log_probs(1);
  const std::vector<double> advantages{1};
  tf::step(cpu, x, v, step, {tf::noise_key{}, tf::noise_id{}}, y, log_probs);
  const tf::policy_batch<tf::bfloat16> batch{
      .x = x, .y = y, .transitions = step, .old_log_probs = log_probs, .advantages = advantages};
  const auto clipped = tf::policy_loss(cpu, batch, v, {}, tf::clipped_grpo{}, gradient);
  const float of_clipped = *gradient.view().data();
  const auto ours = tf::policy_loss(cpu, batch, v, {}, policy_gradient{}, gradient);
  const bool on_policy = clipped.max_abs_log_ratio == 0 && ours.max_abs_log_ratio == 0;
  return on_policy && of_clipped != 0 && *gradient.view().data() == of_clipped ? 0 : 1;
}
