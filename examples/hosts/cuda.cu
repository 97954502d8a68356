// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A group of six transitions in a host that has raw device memory and a stream (docs/hosts.md).

#include <cuda_runtime.h>

#include <cstdio>
#include <vector>

#include <tempflow/cuda.cuh>

namespace tf = tempflow;

constexpr int samples = 6, elements = 1024;

__global__ void fill(float* x, float* v) {
  for (int e = threadIdx.x; e < elements; e += blockDim.x) {
    const int at = blockIdx.x * elements + e;
    x[at] = static_cast<float>((7 * blockIdx.x + e) % 11) / 4 - 1.25f;
    v[at] = x[at] / 2;  // your model
  }
}

double policy_gradient(cudaStream_t stream, const float* x, const float* v, float* y, float* grad_v) {
  const tf::cuda_backend gpu{stream};
  const auto chain = tf::make_chain(tf::sd3_sigmas(10), tf::flow_sde{.noise_level = 0.7});
  const tf::batch_view<const float> states(x, samples, elements), velocities(v, samples, elements);
  std::vector<tf::noise_id> ids(samples);
  for (std::uint32_t i = 0; i < samples; ++i) ids[i] = {.seed = i, .step = 3};
  std::vector<double> log_probs(samples), rewards(samples);  // in host memory: step waits for the stream
  tf::step(gpu, states, velocities, chain[3], {tf::noise_key{.seed = 1}, ids},
           tf::batch_view<float>(y, samples, elements), log_probs);
  std::vector<float> first(samples);
  cudaMemcpy2D(first.data(), sizeof(float), y, elements * sizeof(float), sizeof(float), samples,
               cudaMemcpyDeviceToHost);
  rewards.assign(first.begin(), first.end());  // your reward
  const std::vector<std::int64_t> one_group(samples, 0);
  const auto advantages = tf::group_advantages(rewards, one_group);

  tf::policy_batch<float> batch;
  batch.x = states;
  batch.y = tf::batch_view<const float>(y, samples, elements);
  batch.transitions = chain[3];
  batch.old_log_probs = log_probs;
  batch.advantages = advantages.values;
  return tf::policy_loss(gpu, batch, velocities, {}, tf::clipped_grpo{},
                         tf::batch_view<float>(grad_v, samples, elements))
      .max_abs_log_ratio;
}

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return std::puts("skipped: no GPU"), 0;
  cudaStream_t stream;
  cudaStreamCreate(&stream);
  float* memory[4];
  for (float*& block : memory) cudaMalloc(&block, samples * elements * sizeof(float));
  fill<<<samples, 256, 0, stream>>>(memory[0], memory[1]);
  const double log_ratio = policy_gradient(stream, memory[0], memory[1], memory[2], memory[3]);
  float first = 0;
  cudaMemcpy(&first, memory[3], sizeof first, cudaMemcpyDeviceToHost);
  std::printf("log-ratio %g, dL/dv %.9g\n", log_ratio, first);
}
