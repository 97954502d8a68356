// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <tempflow/tempflow.hpp>
#include <vector>

#include "methods.hpp"
#include "options.hpp"
#include "support/adamw_rule.hpp"

namespace fashion {

/// Every class is a prompt.
std::vector<tempflow::index_t> all_prompts();

/// What the options ask for, in the library's terms.
struct recipe {
  /// Throws std::invalid_argument for a method that is none.
  explicit recipe(const options& settings);

  const method& how;
  fashion::objective objective;
  tempflow::ema_schedule ema;

  tempflow::noise_key key(int update) const;

  /// Samples that leave the trunks of a prompt at one step.
  tempflow::index_t branches_per_prompt() const { return tempflow::index_t{o_.seeds} * o_.explorations; }

  /// What an update rolls out.
  tempflow::forest plan(int update) const;

  /// By the noise of the steps that an update trains.
  std::vector<double> step_weights(int update) const;

  /// Advantages of a rollout's samples, or of its rows where the method says so.
  template <class Rollout>
  tempflow::advantage_set advantages(const Rollout& rollout, std::span<const double> rewards) const {
    if (how.compares == credit::depth)
      return group_advantages(fused_rewards(rollout, rewards), rollout.depth_groups(), scale_);
    const bool siblings = how.compares == credit::siblings && o_.groups == "seed";
    return group_advantages(rewards, siblings ? rollout.seed_groups() : rollout.prompt_groups(), scale_);
  }

  support::adamw_settings optimiser(int update) const;
  tempflow::minibatch_options cut(int update) const;

  // Of methods that train on finished samples, which have no draws and hence no identities.

  /// The prompt of each sample. Also its group.
  std::vector<std::int64_t> finished_prompts() const;
  tempflow::advantage_set finished_advantages(std::span<const double> rewards) const;

  /// Noise levels that each sample is noised again to: `--renoised` of those that an update may train.
  std::vector<double> levels() const;
  tempflow::index_t levels_per_sample() const { return o_.renoised; }

 private:
  update_setup setup(int update) const;

  options o_;
  tempflow::advantage_options scale_;
};

}  // namespace fashion
