// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "trainer.hpp"

#include <tempflow/interop/eigen.hpp>

#include "loss.hpp"
#include "policy.hpp"
#include "renoised.hpp"

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
      old_{start.weights},
      gradient_{vector::Zero(start.weights.size())},
      optimiser_{start.weights.size()} {}

tf::trajectories<float> trainer::explore() {
  const policy network(cpu_, start_.network, old_);
  auto model = tf::flow_model<float>(network.dimension(), [&](auto x, auto sigma, auto prompts, auto v) {
    watch_.charge(account::model, [&] { network.velocity(x, sigma, prompts, v); });
  });
  return tf::roll_out(cpu_, model, all_prompts(), recipe_.plan(updates_), recipe_.key(updates_));
}

std::vector<double> trainer::score(tf::batch_view<const float> samples,
                                   std::span<const tf::index_t> prompts) {
  return watch_.charge(account::reward,
                       [&] { return reward_(start_.codec.decode(cpu_, tf::eigen_map(samples)), prompts); });
}

update_report trainer::update() {
  const auto old_decay = recipe_.how.old_decay;
  if (old_decay == nullptr) old_ = weights_;
  on_policy_ = old_decay == nullptr;

  // 1  Explore: trajectories, branches off noise-free trunks, trees, or samples of the ODE.
  auto rollout = explore();
  update_report report{.policy = {}, .groups = {}, .cost = tf::cost_of(recipe_.plan(updates_), classes)};

  // 2  Score the images, and credit each against its group. 3  Descend.
  if (recipe_.how.forward_process) {
    learn_from_samples(rollout, report);
  } else {
    learn_from_draws(rollout, report);
  }
  if (old_decay != nullptr) tf::ema_update(cpu_, elements(old_), elements(weights_), old_decay(updates_));
  ++updates_;
  return report;
}

void trainer::learn_from_draws(tf::trajectories<float>& rollout, update_report& report) {
  std::vector<tf::index_t> prompts;
  for (const auto& sample : rollout.identities()) prompts.push_back(sample.prompt);
  const auto advantages = recipe_.advantages(rollout, score(rollout.samples(), prompts));
  report.groups = advantages.statistics;
  const auto step_weights = recipe_.step_weights(updates_);
  std::vector<std::int64_t> sequences;
  for (const auto& batch : tf::minibatches(rollout, advantages, step_weights, recipe_.cut(updates_))) {
    sequences.clear();
    for (const tf::index_t row : batch.rows) sequences.push_back(rollout.row(row).sample);
    descend(batch, sequences, report);
  }
}

void trainer::learn_from_samples(const tf::trajectories<float>& rollout, update_report& report) {
  const auto samples = rollout.trunk_samples();
  const std::vector<tf::index_t> prompts = recipe_.finished_prompts();
  const auto advantages = recipe_.finished_advantages(score(samples, prompts));
  report.groups = advantages.statistics;
  const auto batches = renoised_batches(cpu_,
                                        {.x0 = samples,
                                         .prompts = prompts,
                                         .advantages = advantages.values,
                                         .levels = recipe_.levels(),
                                         .levels_per_sample = recipe_.levels_per_sample(),
                                         .key = recipe_.key(updates_)},
                                        recipe_.cut(updates_));
  report.cost.samples = samples.rows();
  for (const auto& batch : batches) {
    report.cost.trained_states += batch.x.rows();
    descend(batch, {}, report);
  }
}

void trainer::descend(const tf::minibatch<float>& batch, std::span<const std::int64_t> sequences,
                      update_report& report) {
  // Forward, loss and its gradient, backward. All branches of a state share its passes.
  const auto& network = start_.network;
  const tf::index_t rows = batch.x.rows(), columns = batch.x.columns();
  tf::batch_buffer<float> v(rows, columns), v_ref(rows, columns), grad_v(rows, columns), v_old;
  velocities compared{.policy = v.view(), .reference = v_ref.view()};
  watch_.charge(account::model, [&] {
    network.forward(cpu_, weights_, batch.x, batch.sigma, batch.prompts, v, tapes_);
    network.velocity(cpu_, start_.weights, batch.x, batch.sigma, batch.prompts, v_ref);
    if (!needs_old_velocity(recipe_.objective)) return;
    compared.old = v.view();
    if (on_policy_) return;
    v_old = tf::batch_buffer<float>(rows, columns);
    network.velocity(cpu_, old_, batch.x, batch.sigma, batch.prompts, v_old);
    compared.old = v_old.view();
  });
  report.policy += loss_of(cpu_, recipe_.objective, batch, compared, sequences, grad_v.view());
  watch_.charge(account::model,
                [&] { network.backward(cpu_, weights_, batch.sigma, grad_v, tapes_, gradient_); });
  if (!batch.completes_update) return;
  watch_.charge(account::optimiser,
                [&] { optimiser_.step(cpu_, recipe_.optimiser(updates_), gradient_, weights_); });
  if (const auto decay = recipe_.ema.at(optimiser_.steps() - 1))
    tf::ema_update(cpu_, elements(average_), elements(weights_), *decay);
  gradient_.setZero();
  on_policy_ = false;
}

void trainer::save(checkpoint_writer& file) {
  file << updates_ << weights_ << average_ << optimiser_.mean() << optimiser_.square() << optimiser_.steps();
  if (recipe_.how.old_decay != nullptr) file << old_;
}

void trainer::load(checkpoint_reader& file) {
  file >> updates_ >> weights_ >> average_ >> optimiser_.mean() >> optimiser_.square() >> optimiser_.steps();
  if (recipe_.how.old_decay != nullptr) file >> old_;
}

}  // namespace fashion
