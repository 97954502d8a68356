// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/tempflow.hpp>

#include "data.hpp"
#include "metrics.hpp"
#include "pretrain.hpp"
#include "rewards.hpp"

namespace fashion {

/// How good a model is, judged on the same initial noises each time.
struct evaluation {
  double reward = 0;     ///< mean reward: what training sees
  double judge = 0;      ///< share of samples that the judge takes for their prompt: what training never sees
  double diversity = 0;  ///< pixel standard deviation within a prompt
  double frechet = 0;    ///< Frechet distance to the test images in the judge's features
};

class evaluator {
 public:
  /// Refers to its arguments.
  evaluator(const tempflow::cpu_backend& cpu, const options& settings, const pretrained& start,
            const dataset& data, const reward_function& reward);

  evaluation evaluate(const vector& weights) const;

  /// The same numbers for the data set's own test images under their own labels: what a perfect model would
  /// score.
  evaluation test_images() const;

  /// A dozen samples of each prompt, a row per prompt.
  void draw(const vector& weights, const std::filesystem::path& path) const;

 private:
  evaluation score(const matrix& images, std::span<const tempflow::index_t> prompts) const;

  /// Samples along the ODE, `count` for each prompt.
  matrix sample(const vector& weights, tempflow::index_t count) const;

  const tempflow::cpu_backend& cpu_;
  const options& settings_;
  const pretrained& start_;
  const labelled_images& test_;
  const reward_function& reward_;
  feature_statistics test_features_;
};

}  // namespace fashion
