// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include "policy.h"

#include <exception>
#include <string>
#include <vector>

#include <tempflow/tempflow.hpp>

namespace tf = tempflow;

namespace {

const tf::cpu_backend cpu;
const tf::chain chain = tf::make_chain(tf::sd3_sigmas(10), tf::flow_sde{.noise_level = 0.7});
thread_local std::string last_error;

template <class Body>
int guarded(const Body& body) {  // no exception leaves for C
  try {
    body();
    return 0;
  } catch (const std::exception& problem) {
    last_error = problem.what();
    return -1;
  }
}

}  // namespace

int policy_step(int64_t rows, int64_t columns, const float* x, const float* v, int64_t step, uint32_t seed,
                float* y, double* log_probs) {
  return guarded([&] {
    std::vector<tf::noise_id> ids(static_cast<std::size_t>(rows));
    for (std::uint32_t i = 0; i < ids.size(); ++i)
      ids[i] = {.seed = i, .step = static_cast<std::uint16_t>(step)};
    tf::step(cpu, tf::batch_view<const float>(x, rows, columns),
             tf::batch_view<const float>(v, rows, columns), chain[step], {tf::noise_key{.seed = seed}, ids},
             tf::batch_view<float>(y, rows, columns), std::span<double>(log_probs, ids.size()));
  });
}

int policy_gradient(int64_t rows, int64_t columns, const float* x, const float* v, const float* y,
                    int64_t step, const double* log_probs, const double* rewards, float* grad_v,
                    double* log_ratio) {
  return guarded([&] {
    const auto count = static_cast<std::size_t>(rows);
    const std::vector<std::int64_t> one_group(count, 0);
    const auto advantages = tf::group_advantages(std::span(rewards, count), one_group);
    tf::policy_batch<float> batch;
    batch.x = tf::batch_view<const float>(x, rows, columns);
    batch.y = tf::batch_view<const float>(y, rows, columns);
    batch.transitions = chain[step];
    batch.old_log_probs = std::span(log_probs, count);
    batch.advantages = advantages.values;
    const auto statistics = tf::policy_loss(cpu, batch, tf::batch_view<const float>(v, rows, columns), {},
                                            tf::clipped_grpo{}, tf::batch_view<float>(grad_v, rows, columns));
    *log_ratio = statistics.max_abs_log_ratio;
  });
}

const char* policy_error(void) { return last_error.c_str(); }
