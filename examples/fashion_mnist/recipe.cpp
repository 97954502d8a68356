// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "recipe.hpp"

#include <numeric>
#include <string>

#include "task.hpp"

namespace fashion {

namespace tf = tempflow;

namespace {

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

std::vector<tf::index_t> all_prompts() {
  std::vector<tf::index_t> prompts(classes);
  std::iota(prompts.begin(), prompts.end(), tf::index_t{0});
  return prompts;
}

recipe::recipe(const options& o)
    : branches{o.method == "tempflow-grpo"},
      siblings{branches && o.groups == "seed"},
      noise_aware{o.weights == "noise-aware"},
      seed{o.seed},
      chain{sde_chain(o)},
      branch_plan{.seeds_per_prompt = o.seeds,
                  .explorations = o.explorations,
                  .branch_steps = tf::step_range(0, o.trained_steps),
                  .completion_steps = o.completion == "full" ? 0 : std::stoi(o.completion)},
      flow_plan{.samples_per_prompt = o.seeds * o.explorations,
                .trained_steps = tf::step_range(0, o.trained_steps)},
      credit{.scale = advantage_scale(o)},
      objective{.clip = {o.clip, o.clip}, .advantage_clip = o.advantage_clip, .kl_beta = o.kl_beta},
      optimiser{.learning_rate = o.learning_rate,
                .weight_decay = o.weight_decay,
                .max_gradient_norm = o.max_gradient_norm},
      ema{.decay = o.ema_decay, .interval = o.ema_interval},
      minibatch_{o.minibatch},
      optimizer_steps_{o.optimizer_steps} {}

tf::rollout_cost recipe::cost() const {
  return branches ? branch_plan.cost(chain, classes) : flow_plan.cost(chain, classes);
}

tf::noise_key recipe::key(int update) const {
  return {.seed = seed, .update = static_cast<std::uint32_t>(update)};
}

std::vector<double> recipe::step_weights(std::vector<tf::index_t> trained_steps) const {
  return noise_aware ? tf::noise_aware_weights(chain, trained_steps) : tf::uniform_weights(chain);
}

tf::minibatch_options recipe::cut(int update) const {
  return {.size = minibatch_, .updates = optimizer_steps_, .shuffle = key(update)};
}

}  // namespace fashion
