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
  std::vector<double> score(tempflow::batch_view<const float> samples,
                            std::span<const tempflow::index_t> prompts);

  /// Credits transitions of a rollout, and descends their loss.
  void learn_from_draws(tempflow::trajectories<float>& rollout, update_report& report);
  /// Credits finished samples, noises them again, and descends.
  void learn_from_samples(const tempflow::trajectories<float>& rollout, update_report& report);

  /// Adds a batch's part to the gradient, and steps the optimiser when it is complete.
  void descend(const tempflow::minibatch<float>& batch, std::span<const std::int64_t> sequences,
               update_report& report);

  const tempflow::cpu_backend& cpu_;
  const pretrained& start_;
  const reward_function& reward_;
  stopwatch& watch_;

  recipe recipe_;
  int updates_ = 0;
  vector weights_, average_;
  vector old_;             ///< the old policy: explores, and is what ratios compare with
  bool on_policy_ = true;  ///< the weights are the old policy's
  vector gradient_;
  adamw optimiser_;
  velocity_network::tapes tapes_;
};

}  // namespace fashion
