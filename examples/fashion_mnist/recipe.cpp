// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "recipe.hpp"

#include <numeric>

#include "task.hpp"

namespace fashion {

namespace tf = tempflow;

namespace {

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
    : how{method_named(o.method)},
      objective{how.loss(o)},
      ema{.decay = o.ema_decay, .interval = o.ema_interval},
      o_{o},
      scale_{.scale = advantage_scale(o)} {}

tf::noise_key recipe::key(int update) const {
  return {.seed = o_.run_seed, .update = static_cast<std::uint32_t>(update)};
}

update_setup recipe::setup(int update) const {
  const auto trained = [&] {
    if (o_.window == 0) return tf::step_range(0, o_.trained_steps);
    if (o_.window_updates > 0) {
      return tf::sliding_window{.size = o_.window, .updates_per_window = o_.window_updates}.at(
          update, o_.trained_steps);
    }
    return tf::random_window{.size = o_.window, .first = 0, .last = o_.trained_steps}.at(key(update),
                                                                                         o_.steps);
  }();
  const auto rule = [&](const tf::sigma_step& at) { return how.noise(o_.noise_level, at); };
  const auto noisy = o_.window == 0 ? tf::step_range(0, o_.steps) : trained;
  return {o_, tf::make_chain(tf::shifted_linspace_sigmas(o_.steps, o_.shift), rule, noisy, tf::ode{}),
          trained};
}

tf::forest recipe::plan(int update) const { return how.plan(setup(update)); }

std::vector<double> recipe::step_weights(int update) const {
  const auto [set, steps, trained] = setup(update);
  if (o_.weights == "noise-aware") return tf::noise_aware_weights(steps, trained);
  if (o_.weights == "guard") {
    return tf::guard_weights(steps, trained, tf::guard_weight::inverse_dt,
                             tf::weight_normalization::trained_steps);
  }
  return tf::uniform_weights(steps);
}

support::adamw_settings recipe::optimiser(int update) const {
  const double done = static_cast<double>(update) / o_.updates;
  return {.learning_rate = o_.learning_rate * (1 - (1 - o_.final_rate) * done),
          .weight_decay = o_.weight_decay,
          .max_gradient_norm = o_.max_gradient_norm};
}

tf::minibatch_options recipe::cut(int update) const {
  // The ratio of a sequence takes all of its steps in one batch.
  const bool whole = std::holds_alternative<tf::sequence_grpo>(objective);
  return {.size = whole ? std::numeric_limits<tf::index_t>::max() : o_.minibatch,
          .updates = o_.optimizer_steps,
          .shuffle = key(update),
          .advantages = how.compares == credit::depth ? tf::advantage_of::rows : tf::advantage_of::samples};
}

std::vector<std::int64_t> recipe::finished_prompts() const {
  std::vector<std::int64_t> prompts;  // rollouts have their samples by prompt
  for (tf::index_t i = 0; i < classes * branches_per_prompt(); ++i)
    prompts.push_back(i / branches_per_prompt());
  return prompts;
}

tf::advantage_set recipe::finished_advantages(std::span<const double> rewards) const {
  return tf::group_advantages(rewards, finished_prompts(), scale_);
}

std::vector<double> recipe::levels() const {
  const auto sigmas = tf::shifted_linspace_sigmas(o_.steps, o_.shift);
  return {sigmas.begin(), sigmas.begin() + o_.trained_steps};
}

}  // namespace fashion
