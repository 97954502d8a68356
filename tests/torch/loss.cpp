// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include <torch/torch.h>

#include <tempflow/interop/torch_loss.hpp>
#include <tempflow/interop/torch_threads.hpp>
#include <tempflow/tempflow.hpp>

#include "support/catch.hpp"

using namespace tempflow;

namespace {

constexpr index_t elements = 6;

/// A small torch network as a velocity model.
struct torch_network {
  using value_type = float;
  torch::nn::Sequential layers{torch::nn::Linear(elements + 1, 32), torch::nn::Tanh(),
                               torch::nn::Linear(32, elements)};

  at::Tensor forward(const at::Tensor& x, const at::Tensor& sigma) {
    return layers->forward(at::cat({x, sigma.unsqueeze(1)}, 1));
  }

  static at::Tensor sigmas(std::span<const double> sigma) {
    return at::tensor(std::vector<double>(sigma.begin(), sigma.end()), at::kDouble).to(at::kFloat);
  }

  index_t dimension() const { return elements; }
  void velocity(batch_view<const float> x, std::span<const double> sigma, std::span<const index_t>,
                batch_view<float> v) {
    const at::NoGradGuard no_grad;
    tensor_of(v, {elements}, 0).copy_(forward(tensor_of(x, {elements}, 0), sigmas(sigma)));
  }
};

}  // namespace

TEST_CASE("torch: the loss's gradient is policy_loss's, scaled by what lies above", "[torch]") {
  const auto backend = torch_backend();
  const transition step_of{.alpha = 0.9, .beta = -0.1, .std = 0.3};
  const at::Tensor x = at::randn({4, 2, 3}), y = 0.9 * x + 0.3 * at::randn({4, 2, 3}),
                   reference = at::randn({4, 2, 3});
  const std::vector<double> old(4, -0.5), advantages{1, -1, 2, 0.5};
  policy_batch<float> batch;
  batch.x = batch_view_of<const float>(x);
  batch.y = batch_view_of<const float>(y);
  batch.transitions = step_of;
  batch.old_log_probs = old;
  batch.advantages = advantages;
  const clipped_grpo objective{.clip = {0.5, 0.5}, .kl_beta = 0.1};
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    at::Tensor v = at::randn({4, 2, 3}).to(dtype).requires_grad_();
    const at::Tensor v_ref = reference.to(dtype), plain = v.detach();
    const auto [loss, statistics] = policy_loss(backend, batch, v, v_ref, objective);
    CHECK(loss.item<double>() == statistics.loss);
    (loss * 4).backward();
    with_storage_type(dtype, [&]<class V>(std::type_identity<V>) {
      if constexpr (!std::same_as<V, double>) {
        at::Tensor expected =
            at::empty({4, 2, 3}, at::TensorOptions(tempflow::detail::torch_dtype<gradient_t<V>>()));
        static_cast<void>(policy_loss(backend, batch, batch_view_of<const V>(plain),
                                      batch_view_of<const V>(v_ref), objective,
                                      batch_view_of<gradient_t<V>>(expected)));
        CHECK(at::equal(v.grad(), (expected * 4).to(dtype)));
      }
    });
  }
  const at::Tensor wrong = at::zeros({4, 2, 3}, at::kDouble);
  CHECK_THROWS_AS(policy_loss(backend, batch, wrong, at::Tensor(), objective), value_error);
  const at::Tensor few = at::zeros({3, 2, 3});
  CHECK_THROWS_AS(policy_loss(backend, batch, few, at::Tensor(), clipped_grpo{}), shape_error);
}

TEST_CASE("torch: a graph that was scaled in place is not run again", "[torch]") {
  const auto backend = torch_backend();
  const at::Tensor x = at::randn({2, 3}), y = at::randn({2, 3});
  const std::vector<double> numbers{-1, 1};
  policy_batch<float> batch;
  batch.x = batch_view_of<const float>(x);
  batch.y = batch_view_of<const float>(y);
  batch.transitions = transition{.alpha = 1, .beta = -0.1, .std = 0.3};
  batch.old_log_probs = numbers;
  batch.advantages = numbers;
  const at::Tensor v = at::randn({2, 3}).requires_grad_();
  auto loss = policy_loss(backend, batch, v, at::Tensor(), clipped_grpo{}).loss;
  loss.backward({}, true);
  loss.backward({}, true);  // not scaled: as often as one likes
  (loss * 2).backward({}, true);
  CHECK_THROWS_WITH(loss.backward(), Catch::Contains("second backward"));
}

TEST_CASE("torch: a network learns from its reward, on policy at a ratio of exactly 1", "[torch]") {
  torch::manual_seed(0);
  const auto backend = torch_backend();
  torch_network network;
  torch::optim::AdamW optimizer(network.layers->parameters(), torch::optim::AdamWOptions(3e-3));
  const auto chain = make_chain(sd3_sigmas(6), flow_sde{});
  const branch_plan plan{.seeds_per_prompt = 6, .explorations = 6, .completion_steps = {1}};
  const auto weights = noise_aware_weights(chain, chain.trainable_steps());
  const index_t prompts[] = {0};
  double first = 0, last = 0;
  for (std::uint32_t update = 0; update < 20; ++update) {
    auto rollout = roll_out(backend, network, prompts, chain, plan, {.seed = 5, .update = update % 4});
    const auto samples = tensor_of(rollout.samples(), {elements}, 0);
    const at::Tensor scores = -(samples - 1).square().mean(1).to(at::kDouble);
    const std::vector<double> rewards(scores.data_ptr<double>(), scores.data_ptr<double>() + scores.numel());
    const auto advantages = group_advantages(rewards, rollout.prompt_groups());
    (update < 4 ? first : last) += update < 4 || update >= 16 ? advantages.statistics.reward_mean : 0;
    for (const auto& batch : minibatches(rollout, advantages, weights, {.size = 1000})) {
      const at::Tensor v =
          network.forward(tensor_of(batch.x, {elements}, batch.storage), torch_network::sigmas(batch.sigma));
      auto [loss, statistics] = policy_loss(backend, batch, v, at::Tensor(), clipped_grpo{});
      CHECK(statistics.max_abs_log_ratio < 1e-6);  // a batch of another size may give other bits
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
    }
  }
  CHECK(last > first + 0.2);
}
