// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/backend/cpu.hpp>

#include "matrix.hpp"
#include "support/adamw_rule.hpp"

namespace fashion {

/// A learning rate that rises over the first 100 steps, then falls along a cosine to 0.
double cosine_rate(double peak, int step, int steps);

/// The optimiser's memory; adamw_rule has the formulas.
class adamw {
 public:
  explicit adamw(Eigen::Index parameters)
      : mean_{vector::Zero(parameters)}, square_{vector::Zero(parameters)} {}

  /// Moves the weights; returns the gradient's norm before the clip. Throws std::runtime_error when it is not
  /// finite.
  double step(const tempflow::cpu_backend& cpu, const support::adamw_settings& settings,
              const vector& gradient, vector& weights);

  /// What a checkpoint holds.
  vector& mean() { return mean_; }
  vector& square() { return square_; }
  std::int64_t& steps() { return steps_; }

 private:
  vector mean_, square_;
  std::int64_t steps_ = 0;
};

}  // namespace fashion
