// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/tempflow.hpp>

#include "adamw.hpp"
#include "checkpoint.hpp"
#include "options.hpp"
#include "pretrain.hpp"
#include "recipe.hpp"
#include "rewards.hpp"
#include "stopwatch.hpp"
#include "update_report.hpp"

namespace fashion {

/// Fine-tunes the flow model by policy gradient: the part of this example that shows how the library is used.
class trainer {
 public:
  /// Refers to its arguments. `watch` learns what the time of updates goes to.
  trainer(const tempflow::cpu_backend& cpu, const options& settings, const pretrained& start,
          const reward_function& reward, stopwatch& watch);

  /// One update: explore, score, credit, descend.
  update_report update();

  /// Updates done.
  int updates() const { return updates_; }

  /// The average of the weights over training: what is evaluated and kept.
  const vector& average() const { return average_; }

  void save(checkpoint_writer& file);
  void load(checkpoint_reader& file);

 private:
  tempflow::trajectories<float> explore();

  const tempflow::cpu_backend& cpu_;
  const pretrained& start_;
  const reward_function& reward_;
  stopwatch& watch_;

  recipe recipe_;
  int updates_ = 0;
  vector weights_, average_;
  adamw optimiser_;
  velocity_network::tapes tapes_;
};

}  // namespace fashion
