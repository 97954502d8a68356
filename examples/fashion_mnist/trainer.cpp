// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "trainer.hpp"

#include <tempflow/interop/eigen.hpp>

#include "policy.hpp"

namespace fashion {

namespace tf = tempflow;

trainer::trainer(const tf::cpu_backend& cpu, const options& settings, const pretrained& start,
                 const reward_function& reward, stopwatch& watch)
    : cpu_{cpu},
      start_{start},
      reward_{reward},
      watch_{watch},
      recipe_{settings},
      weights_{start.weights},
      average_{start.weights},
      optimiser_{start.weights.size()} {}

tf::trajectories<float> trainer::explore() {
  const policy network(cpu_, start_.network, weights_);
  auto model = tf::flow_model<float>(network.dimension(), [&](auto x, auto sigma, auto prompts, auto v) {
    watch_.charge(account::model, [&] { network.velocity(x, sigma, prompts, v); });
  });
  return tf::roll_out(cpu_, model, all_prompts(), recipe_.plan(updates_), recipe_.key(updates_));
}

update_report trainer::update() {
  // 1  Explore: noisy branches off noise-free trunks, each finished to an image.
  auto rollout = explore();

  // 2  Score the images, and credit each against its group.
  std::vector<tf::index_t> prompts;
  for (const auto& sample : rollout.identities()) prompts.push_back(sample.prompt);
  const auto rewards = watch_.charge(account::reward, [&] {
    return reward_(start_.codec.decode(cpu_, tf::eigen_map(rollout.samples())), prompts);
  });
  const auto advantages = tf::group_advantages(
      rewards, recipe_.siblings ? rollout.seed_groups() : rollout.prompt_groups(), recipe_.credit);

  // 3  Descend: forward, loss and its gradient, backward, a minibatch of states at a time. All branches of a state
  //    share its passes.
  const auto& network = start_.network;
  vector gradient = vector::Zero(weights_.size());
  update_report report{
      .policy = {}, .groups = advantages.statistics, .cost = tf::cost_of(recipe_.plan(updates_), classes)};
  const auto step_weights = recipe_.step_weights(updates_);
  for (const auto& batch : tf::minibatches(rollout, advantages, step_weights, recipe_.cut(updates_))) {
    tf::batch_buffer<float> v(batch.x.rows(), batch.x.columns()), v_ref(batch.x.rows(), batch.x.columns()),
        grad_v(batch.x.rows(), batch.x.columns());
    watch_.charge(account::model, [&] {
      network.forward(cpu_, weights_, batch.x, batch.sigma, batch.prompt, v, tapes_);
      network.velocity(cpu_, start_.weights, batch.x, batch.sigma, batch.prompt, v_ref);
    });
    report.policy += tf::policy_loss(cpu_, batch, v, v_ref, recipe_.objective, grad_v);
    watch_.charge(account::model,
                  [&] { network.backward(cpu_, weights_, batch.sigma, grad_v, tapes_, gradient); });
    if (!batch.completes_update) continue;
    watch_.charge(account::optimiser,
                  [&] { optimiser_.step(cpu_, recipe_.optimiser(updates_), gradient, weights_); });
    if (const auto decay = recipe_.ema.at(optimiser_.steps() - 1))
      tf::ema_update(cpu_, elements(average_), elements(weights_), *decay);
    gradient.setZero();
  }
  ++updates_;
  return report;
}

void trainer::save(checkpoint_writer& file) {
  file << updates_ << weights_ << average_ << optimiser_.mean() << optimiser_.square() << optimiser_.steps();
}

void trainer::load(checkpoint_reader& file) {
  file >> updates_ >> weights_ >> average_ >> optimiser_.mean() >> optimiser_.square() >> optimiser_.steps();
}

}  // namespace fashion
