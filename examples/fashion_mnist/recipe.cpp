// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "recipe.hpp"

#include <algorithm>
#include <numeric>
#include <sstream>
#include <string>
#include <utility>

#include "task.hpp"

namespace fashion {

namespace tf = tempflow;

namespace {

tf::advantage_scale advantage_scale(const options& o) {
  if (o.advantage_scale == "global") return tf::advantage_scale::global_std;
  if (o.advantage_scale == "none") return tf::advantage_scale::none;
  return tf::advantage_scale::group_std;
}

/// "2,2,1" for branches of step 0, of step 1, and of all that follow.
std::vector<tf::index_t> completion_steps(const std::string& text,
                                          const std::vector<tf::index_t>& branching) {
  if (text == "full") return {0};
  std::vector<tf::index_t> by_step, steps;
  std::istringstream numbers(text);
  for (std::string number; std::getline(numbers, number, ',');) by_step.push_back(std::stoi(number));
  for (const tf::index_t step : branching) {
    const auto last = static_cast<tf::index_t>(by_step.size()) - 1;
    steps.push_back(by_step[static_cast<std::size_t>(std::min(step, last))]);
  }
  return steps;
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
      credit{.scale = advantage_scale(o)},
      objective{.clip = {o.clip, o.clip}, .advantage_clip = o.advantage_clip, .kl_beta = o.kl_beta},
      ema{.decay = o.ema_decay, .interval = o.ema_interval},
      o_{o} {}

tf::noise_key recipe::key(int update) const {
  return {.seed = o_.run_seed, .update = static_cast<std::uint32_t>(update)};
}

std::vector<tf::index_t> recipe::trained_steps(int update) const {
  if (o_.window == 0) return tf::step_range(0, o_.trained_steps);
  return tf::random_window{.size = o_.window, .first = 0, .last = o_.trained_steps}.at(key(update), o_.steps);
}

tf::chain recipe::chain(int update) const {
  const tf::flow_sde rule{.noise_level = o_.noise_level};
  auto sigmas = tf::shifted_linspace_sigmas(o_.steps, o_.shift);
  if (branches || o_.window == 0) return tf::make_chain(std::move(sigmas), rule);
  return tf::make_chain(std::move(sigmas), rule, trained_steps(update));
}

tf::forest recipe::plan(int update) const {
  const auto trained = trained_steps(update);
  if (!branches) {
    return tf::flow_plan{.samples_per_prompt = o_.seeds * o_.explorations,
                         .trained_steps = trained,
                         .shared_noise = o_.shared_noise,
                         .antithetic = o_.antithetic}
        .on(chain(update));
  }
  return tf::branch_plan{.seeds_per_prompt = o_.seeds,
                         .explorations = o_.explorations,
                         .branch_steps = trained,
                         .completion_steps = completion_steps(o_.completion, trained),
                         .antithetic = o_.antithetic,
                         .shared_noise = o_.shared_noise}
      .on(chain(update));
}

std::vector<double> recipe::step_weights(int update) const {
  const auto steps = chain(update);
  return o_.weights == "noise-aware" ? tf::noise_aware_weights(steps, trained_steps(update))
                                     : tf::uniform_weights(steps);
}

adamw_settings recipe::optimiser(int update) const {
  const double done = static_cast<double>(update) / o_.updates;
  return {.learning_rate = o_.learning_rate * (1 - (1 - o_.final_rate) * done),
          .weight_decay = o_.weight_decay,
          .max_gradient_norm = o_.max_gradient_norm};
}

tf::minibatch_options recipe::cut(int update) const {
  return {.size = o_.minibatch, .updates = o_.optimizer_steps, .shuffle = key(update)};
}

}  // namespace fashion
