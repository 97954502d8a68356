// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <tempflow/tempflow.hpp>
#include <variant>
#include <vector>

#include "options.hpp"

namespace fashion {

/// A loss of the field, with its settings.
using objective =
    std::variant<tempflow::clipped_grpo, tempflow::grpo_guard, tempflow::flow_dppo, tempflow::sequence_grpo,
                 tempflow::diffusion_nft, tempflow::advantage_weighted_matching>;

/// What gets an advantage, and what it is compared with.
enum class credit {
  siblings,  ///< samples, with those of their seed and step; with --groups prompt, of their prompt and step
  prompt,    ///< samples, with all of their prompt
  depth      ///< transitions of a tree, by the mean of what they led to, with those of their depth
};

/// An update as a plan sees it.
struct update_setup {
  const options& set;
  tempflow::chain steps;                   ///< with --window, only the window draws noise
  std::vector<tempflow::index_t> trained;  ///< steps that explore and train

  tempflow::index_t samples_per_prompt() const { return tempflow::index_t{set.seeds} * set.explorations; }
};

/// A method of the field: how it differs from the others.
struct method {
  const char* name;
  const char* summary;  ///< its line of --help
  /// Sets the defaults that differ from TempFlow-GRPO's, weights of the steps among them.
  void (*recommended)(options& o);
  /// The transition of a step, by the noise level.
  tempflow::transition (*noise)(double level, const tempflow::sigma_step& at);
  tempflow::forest (*plan)(const update_setup& update);  ///< what it rolls out
  credit compares;
  objective (*loss)(const options& o);
  bool draws_siblings = false;  ///< several successors of a state, whatever --shared-noise says
  /// Rolls out by the ODE, and trains on finished samples that are noised again (renoised.hpp).
  bool forward_process = false;
  /// Decay of an average of the weights after an update, which is the old policy and explores; without, the weights
  /// at the start of an update are the old policy.
  double (*old_decay)(int update) = nullptr;
};

/// All of them.
std::span<const method> methods();

/// nullptr for a name that no method has.
const method* find_method(std::string_view name);

/// Throws std::invalid_argument for such a name.
const method& method_named(std::string_view name);

}  // namespace fashion
