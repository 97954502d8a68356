// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What README shows. It only has to compile.

#include <tempflow/cuda.cuh>  // in .cu files; .cpp files include <tempflow/cuda.hpp>
namespace tf = tempflow;

// An update of a model in device memory. States, samples and gradients stay there.
template <class Model, class Reward>
void update(cudaStream_t stream, Model& model, const Model& reference, const Reward& reward,
            std::span<const tf::index_t> prompts, const tf::chain& chain, tf::noise_key key) {
  const tf::cuda_backend gpu{stream};  // everything goes to this stream
  const tf::branch_plan plan{.seeds_per_prompt = 4, .explorations = 6};
  auto rollout = tf::roll_out(gpu, model, prompts, chain, plan, key);
  const auto advantages = tf::group_advantages(reward(rollout.samples()), rollout.seed_groups());
  const auto weights = tf::noise_aware_weights(chain, rollout.trained_steps());
  for (const auto& batch : tf::minibatches(rollout, advantages, weights, {.size = 64})) {
    const auto buffer = [&] { return tf::make_buffer<float>(gpu, batch.x.rows(), batch.x.columns()); };
    auto v = buffer(), v_ref = buffer(), grad_v = buffer();
    model.velocity(batch.x, batch.sigma, batch.prompts, v);
    reference.velocity(batch.x, batch.sigma, batch.prompts, v_ref);
    tf::policy_loss(gpu, batch, v, v_ref, tf::clipped_grpo{.kl_beta = 0.004}, grad_v);
    model.backward(batch, grad_v);
  }
}

struct model {
  using value_type = float;
  tf::index_t dimension() const;
  void velocity(tf::batch_view<const float> x, std::span<const double> sigma,
                std::span<const tf::index_t> prompts, tf::batch_view<float> v) const;
  void backward(const tf::minibatch<float>& batch, tf::batch_view<const float> grad_v);
};

struct reward {
  std::vector<double> operator()(tf::batch_view<const float> samples) const;
};

template void update(cudaStream_t, model&, const model&, const reward&, std::span<const tf::index_t>,
                     const tf::chain&, tf::noise_key);
