// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "trainer.hpp"

#include <numeric>
#include <tempflow/interop/eigen.hpp>

#include "policy.hpp"

namespace fashion {

namespace tf = tempflow;

namespace {

/// Every class is a prompt.
std::vector<tf::index_t> all_prompts() {
  std::vector<tf::index_t> prompts(classes);
  std::iota(prompts.begin(), prompts.end(), tf::index_t{0});
  return prompts;
}

tf::chain sde_chain(const options& o) {
  return tf::make_chain(tf::shifted_linspace_sigmas(o.steps, o.shift),
                        tf::flow_sde{.noise_level = o.noise_level});
}

tf::advantage_scale advantage_scale(const options& o) {
  if (o.advantage_scale == "global") return tf::advantage_scale::global_std;
  if (o.advantage_scale == "none") return tf::advantage_scale::none;
  return tf::advantage_scale::group_std;
}

}  // namespace

trainer::trainer(const tf::cpu_backend& cpu, const options& settings, const pretrained& start,
                 const reward_function& reward, stopwatch& watch)
    : cpu_{cpu},
      settings_{settings},
      start_{start},
      reward_{reward},
      watch_{watch},
      chain_{sde_chain(settings)},
      branch_plan_{.seeds_per_prompt = settings.seeds,
                   .explorations = settings.explorations,
                   .branch_steps = tf::step_range(0, settings.trained_steps),
                   .completion_steps = settings.completion == "full" ? 0 : std::stoi(settings.completion)},
      flow_plan_{.samples_per_prompt = settings.seeds * settings.explorations,
                 .trained_steps = tf::step_range(0, settings.trained_steps)},
      credit_{.scale = advantage_scale(settings)},
      objective_{.clip = {settings.clip, settings.clip},
                 .advantage_clip = settings.advantage_clip,
                 .kl_beta = settings.kl_beta},
      weights_{start.weights},
      average_{start.weights},
      optimiser_{start.weights.size()} {}

tf::rollout_cost trainer::cost() const {
  return settings_.method == "flow-grpo" ? flow_plan_.cost(chain_, classes)
                                         : branch_plan_.cost(chain_, classes);
}

tf::trajectories<float> trainer::explore() {
  const policy network(cpu_, start_.network, weights_);
  auto model = tf::flow_model<float>(network.dimension(), [&](auto x, auto sigma, auto prompts, auto v) {
    watch_.charge(account::model, [&] { network.velocity(x, sigma, prompts, v); });
  });
  const tf::noise_key key{.seed = settings_.seed, .update = static_cast<std::uint32_t>(updates_)};
  return settings_.method == "flow-grpo"
             ? tf::flow_rollout(cpu_, model, all_prompts(), chain_, flow_plan_, key)
             : tf::branch_rollout(cpu_, model, all_prompts(), chain_, branch_plan_, key);
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
  const bool siblings = settings_.method == "tempflow-grpo" && settings_.groups == "seed";
  const auto advantages =
      tf::group_advantages(rewards, siblings ? rollout.seed_groups() : rollout.prompt_groups(), credit_);

  // 3  Descend: forward, loss and its gradient, backward, a minibatch at a time.
  const auto step_weights = settings_.weights == "noise-aware"
                                ? tf::noise_aware_weights(chain_, rollout.trained_steps())
                                : tf::uniform_weights(chain_);
  const auto shuffle = tf::noise_key{.seed = settings_.seed, .update = static_cast<std::uint32_t>(updates_)};
  const auto& network = start_.network;
  const adamw_settings rule{.learning_rate = settings_.learning_rate,
                            .weight_decay = settings_.weight_decay,
                            .max_gradient_norm = settings_.max_gradient_norm};
  const tf::ema_schedule ema{.decay = settings_.ema_decay, .interval = settings_.ema_interval};
  vector gradient = vector::Zero(weights_.size());
  update_report report{.policy = {}, .groups = advantages.statistics, .cost = cost()};
  for (const auto& batch : tf::minibatches(
           rollout, advantages, step_weights,
           {.size = settings_.minibatch, .updates = settings_.optimizer_steps, .shuffle = shuffle})) {
    tf::batch_buffer<float> v(batch.x.rows(), batch.x.columns()), v_ref(batch.x.rows(), batch.x.columns()),
        grad_v(batch.x.rows(), batch.x.columns());
    watch_.charge(account::model, [&] {
      network.forward(cpu_, weights_, batch.x, batch.sigma, batch.prompt, v, tapes_);
      network.velocity(cpu_, start_.weights, batch.x, batch.sigma, batch.prompt, v_ref);
    });
    report.policy += tf::policy_loss(cpu_, batch, v, v_ref, objective_, grad_v);
    watch_.charge(account::model,
                  [&] { network.backward(cpu_, weights_, batch.sigma, grad_v, tapes_, gradient); });
    if (!batch.completes_update) continue;
    watch_.charge(account::optimiser, [&] { optimiser_.step(cpu_, rule, gradient, weights_); });
    if (const auto decay = ema.at(optimiser_.steps() - 1))
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
