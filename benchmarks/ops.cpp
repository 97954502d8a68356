// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The batched operations against the plain loop one would write by hand: fp32, one thread, one pass over memory.
// 64 rows of 65,536 elements: 512 x 512 images in the latents of SD3, more than the caches hold. bytes/s count each
// batch that is read or written once.

#include <benchmark/benchmark.h>
#include <cmath>
#include <cstdint>
#include <vector>

#include <tempflow/tempflow.hpp>

namespace {

namespace tf = tempflow;

constexpr tf::index_t rows = 64, elements = 65536, explorations = 6;
constexpr tf::noise_key key{.seed = 3};

template <class T>
struct batches {
  tf::cpu_backend cpu;
  tf::batch_buffer<T> x{rows, elements}, v{rows, elements}, y{rows, elements}, out{rows, elements};
  tf::batch_buffer<T> branches{rows * explorations, elements};
  std::vector<double> log_probs = std::vector<double>(rows),
                      branch_log_probs = std::vector<double>(rows * explorations);
  std::vector<double> advantages = std::vector<double>(rows, 0.5);
  tf::transition step =
      tf::flow_sde{.noise_level = 0.7}({.sigma = 0.8, .sigma_next = 0.7, .second_sigma = 0.9});

  std::vector<tf::noise_id> ids = std::vector<tf::noise_id>(rows);

  /// threads: 0 takes all.
  explicit batches(tf::index_t threads) : cpu(threads) {
    for (tf::index_t i = 0; i < rows; ++i)
      ids[static_cast<std::size_t>(i)].seed = static_cast<std::uint32_t>(i);
    tf::fill_noise(cpu, {.seed = 1}, ids, x.view());
    tf::fill_noise(cpu, {.seed = 2}, ids, v.view());
    tf::step(cpu, x.view(), v, step, key, ids, y, log_probs);
  }
};

/// Runs one operation; `touched` batches are read or written by it.
template <class T, class Run>
void measure(benchmark::State& state, batches<T>& data, double touched, const Run& run) {
  for (auto _ : state) {
    run(data);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(touched * rows * elements * sizeof(T)) *
                          state.iterations());
}

template <class T>
void step(benchmark::State& state) {
  batches<T> data(state.range(0));
  measure(state, data, 3,
          [](auto& d) { tf::step(d.cpu, d.x.view(), d.v, d.step, key, d.ids, d.out, d.log_probs); });
}

template <class T>
void branch_step(benchmark::State& state) {
  batches<T> data(state.range(0));
  measure(state, data, 3 + explorations, [](auto& d) {
    tf::branch_step(d.cpu, d.x.view(), d.v, d.step, d.step, key, d.ids, d.out, d.branches,
                    d.branch_log_probs);
  });
}

template <class T>
void log_prob(benchmark::State& state) {
  batches<T> data(state.range(0));
  measure(state, data, 3, [](auto& d) { tf::log_prob(d.cpu, d.x.view(), d.v, d.y, d.step, d.log_probs); });
}

void log_prob_by_hand(benchmark::State& state) {
  batches<float> data(1);
  measure(state, data, 3, [](auto& d) {
    const auto alpha = static_cast<float>(d.step.alpha), beta = static_cast<float>(d.step.beta);
    for (tf::index_t i = 0; i < rows; ++i) {
      const float *x = d.x.view().row(i), *v = d.v.view().row(i), *y = d.y.view().row(i);
      float squared = 0;
      for (tf::index_t e = 0; e < elements; ++e) {
        const float r = y[e] - alpha * x[e] - beta * v[e];
        squared += r * r;
      }
      d.log_probs[static_cast<std::size_t>(i)] = tf::gaussian_log_prob(squared, d.step, elements, {});
    }
  });
}

template <class T>
void policy_loss(benchmark::State& state) {
  batches<T> data(state.range(0));
  measure(state, data, 5, [](auto& d) {
    const tf::policy_batch<T> batch{.x = d.x.view(),
                                    .y = d.y.view(),
                                    .transitions = d.step,
                                    .old_log_probs = d.log_probs,
                                    .advantages = d.advantages};
    benchmark::DoNotOptimize(tf::policy_loss(d.cpu, batch, d.v.view(), d.x.view(),
                                             tf::clipped_grpo{.kl_beta = 0.01}, d.out.view()));
  });
}

BENCHMARK(step<float>)->ArgName("threads")->Arg(1)->Arg(0)->UseRealTime();
BENCHMARK(step<tf::bfloat16>)->ArgName("threads")->Arg(1)->Arg(0)->UseRealTime();
BENCHMARK(branch_step<float>)->ArgName("threads")->Arg(1)->Arg(0)->UseRealTime();
BENCHMARK(branch_step<tf::bfloat16>)->ArgName("threads")->Arg(1)->Arg(0)->UseRealTime();
BENCHMARK(log_prob<float>)->ArgName("threads")->Arg(1)->Arg(0)->UseRealTime();
BENCHMARK(log_prob<tf::bfloat16>)->ArgName("threads")->Arg(1)->Arg(0)->UseRealTime();
BENCHMARK(log_prob_by_hand)->UseRealTime();
BENCHMARK(policy_loss<float>)->ArgName("threads")->Arg(1)->Arg(0)->UseRealTime();
BENCHMARK(policy_loss<tf::bfloat16>)->ArgName("threads")->Arg(1)->Arg(0)->UseRealTime();

}  // namespace
