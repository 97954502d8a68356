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
  bool noise_aware;
  std::uint32_t seed;

  tempflow::chain chain;
  tempflow::branch_plan branch_plan;
  tempflow::flow_plan flow_plan;
  tempflow::advantage_options credit;
  tempflow::clipped_grpo objective;
  adamw_settings optimiser;
  tempflow::ema_schedule ema;

  tempflow::rollout_cost cost() const;
  tempflow::noise_key key(int update) const;
  std::vector<double> step_weights(std::vector<tempflow::index_t> trained_steps) const;
  tempflow::minibatch_options cut(int update) const;

 private:
  tempflow::index_t minibatch_, optimizer_steps_;
};

}  // namespace fashion
