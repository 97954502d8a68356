// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The text of finetuner, for the file that instantiates it, which includes the library's operations on its
// device first.

#include <algorithm>
#include <chrono>
#include <utility>

#include "finetuner.hpp"

namespace fashion {

template <class Device, gemm Gemm>
finetuner<Device, Gemm>::finetuner(const backend_type& backend, const Gemm& multiply, const options& settings,
                                   std::span<const float> pretrained, latent_reward reward)
    : backend_{backend},
      recipe_{settings},
      network_{backend,
               multiply,
               {.latents = settings.latents, .width = settings.width, .blocks = settings.blocks}},
      reward_{std::move(reward)},
      gradient_{tempflow::make_zeros<float>(backend, 1, network_.parameters())},
      optimiser_{backend, network_.parameters()} {
  const const_states weights(pretrained.data(), 1, network_.parameters());
  for (buffer* const copy : {&start_, &weights_, &average_}) *copy = tempflow::from_host(backend, weights);
}

template <class Device, gemm Gemm>
std::vector<float> finetuner<Device, Gemm>::average() const {
  std::vector<float> copy(static_cast<std::size_t>(average_.columns()));
  tempflow::copy_to_host(backend_, average_.view(), states(copy.data(), 1, average_.columns()));
  return copy;
}

template <class Device, gemm Gemm>
auto finetuner<Device, Gemm>::model(const buffer& weights, calls order) {
  return tempflow::flow_model<float>(
      network_.dimension(), [this, &weights, order](auto x, auto sigma, auto prompts, auto v) {
        // A call of the wavefront has the branches of one step after the other, then the trunk's rows, if any.
        const auto most = order == calls::wavefront ? x.rows() : classes * recipe_.branches_per_prompt();
        for (tempflow::index_t first = 0; first < x.rows(); first += most) {
          const auto count = std::min(most, x.rows() - first);
          const auto at = static_cast<std::size_t>(first), size = static_cast<std::size_t>(count);
          network_.forward(weights.view(), x.slice(first, count), sigma.subspan(at, size),
                           prompts.subspan(at, size), v.slice(first, count), scratch_);
          ++last_cost_.rollout_calls;
          last_cost_.rollout_evaluations += count;
        }
      });
}

template <class Device, gemm Gemm>
template <class Work>
auto finetuner<Device, Gemm>::timed(double& spent, const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  auto result = work();
  backend_.synchronize();
  spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

template <class Device, gemm Gemm>
update_report finetuner<Device, Gemm>::update(calls order) {
  namespace tf = tempflow;
  last_cost_ = {};

  // 1  Explore: noisy branches off noise-free trunks, each finished to latents.
  auto rollout = timed(last_cost_.rollout_seconds, [&] {
    auto policy = model(weights_, order);
    return tf::roll_out(backend_, policy, all_prompts(), recipe_.plan(updates_), recipe_.key(updates_));
  });
  const auto counted = last_cost_;

  // 2  Score the latents, on the host, and credit each against its group.
  const auto rewards = timed(last_cost_.reward_seconds, [&] {
    std::vector<tf::index_t> prompts;
    for (const auto& sample : rollout.identities()) prompts.push_back(sample.prompt);
    const auto latents = tf::to_host(backend_, rollout.samples());
    return reward_(latents.view(), prompts);
  });
  const auto advantages = recipe_.advantages(rollout, rewards);

  // 3  Descend: forward, loss and its gradient, backward, a minibatch at a time.
  update_report report{
      .policy = {}, .groups = advantages.statistics, .cost = tf::cost_of(recipe_.plan(updates_), classes)};
  report.policy = timed(last_cost_.training_seconds, [&] {
    tf::policy_statistics statistics;
    const auto& clipped = std::get<tf::clipped_grpo>(recipe_.objective);
    const auto step_weights = recipe_.step_weights(updates_);
    auto batches = tf::minibatches(rollout, advantages, step_weights, recipe_.cut(updates_));
    auto policy = model(weights_, calls::wavefront);
    largest_drift_ = std::max(largest_drift_, tf::rescore(backend_, policy, batches).max_abs);
    for (const auto& batch : batches) {
      const auto rows = batch.x.rows(), columns = batch.x.columns();
      buffer v(backend_, rows, columns), v_ref(backend_, rows, columns), v_gradient(backend_, rows, columns);
      network_.forward(start_.view(), batch.x, batch.sigma, batch.prompts, v_ref.view(), scratch_);
      network_.forward(weights_.view(), batch.x, batch.sigma, batch.prompts, v.view(), tape_);
      statistics += tf::policy_loss(backend_, batch, v.view(), v_ref.view(), clipped, v_gradient.view());
      network_.backward(weights_.view(), v_gradient.view(), tape_, gradient_.view());
      if (!batch.completes_update) continue;
      optimiser_.step(recipe_.optimiser(updates_), gradient_.view(), weights_.view());
      backend_.device().clear(gradient_.view().data(),
                              sizeof(float) * static_cast<std::size_t>(gradient_.columns()));
      if (const auto decay = recipe_.ema.at(optimiser_.steps() - 1)) {
        const auto size = static_cast<std::size_t>(weights_.columns());
        tf::ema_update(backend_, std::span(average_.view().data(), size),
                       std::span<const float>(weights_.view().data(), size), *decay);
      }
    }
    return statistics;
  });
  last_cost_.rollout_calls = counted.rollout_calls;
  last_cost_.rollout_evaluations = counted.rollout_evaluations;
  ++updates_;
  return report;
}

}  // namespace fashion
