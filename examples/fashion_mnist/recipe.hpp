// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <tempflow/tempflow.hpp>
#include <vector>

#include "adamw_rule.hpp"
#include "options.hpp"

namespace fashion {

/// Every class is a prompt.
std::vector<tempflow::index_t> all_prompts();

/// What the options ask for, in the library's terms.
struct recipe {
  explicit recipe(const options& settings);

  bool branches;  ///< TempFlow-GRPO, not Flow-GRPO
  bool siblings;  ///< credit against the samples of the same seed, not those of the same prompt
  tempflow::advantage_options credit;
  tempflow::clipped_grpo objective;
  tempflow::ema_schedule ema;

  tempflow::noise_key key(int update) const;

  /// The chain of an update: with a window, its other steps draw no noise in Flow-GRPO.
  tempflow::chain chain(int update) const;

  /// Samples that leave the trunks of a prompt at one step.
  tempflow::index_t branches_per_prompt() const { return tempflow::index_t{o_.seeds} * o_.explorations; }

  /// What an update rolls out.
  tempflow::forest plan(int update) const;

  /// By the noise of the steps that an update trains.
  std::vector<double> step_weights(int update) const;

  adamw_settings optimiser(int update) const;
  tempflow::minibatch_options cut(int update) const;

 private:
  std::vector<tempflow::index_t> trained_steps(int update) const;

  options o_;
};

}  // namespace fashion
