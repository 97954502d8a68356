// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/backend/cpu.hpp>

#include "matrix.hpp"

namespace fashion {

struct adamw_settings {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 1e-4;
  double max_gradient_norm = 1.0;  ///< the global norm above which a gradient is scaled down
};

/// A learning rate that rises over the first 100 steps, then falls along a cosine to 0.
double cosine_rate(double peak, int step, int steps);

/// AdamW (Loshchilov and Hutter, arXiv 1711.05101) with a global gradient norm clip.
class adamw {
 public:
  explicit adamw(Eigen::Index parameters)
      : mean_{vector::Zero(parameters)}, square_{vector::Zero(parameters)} {}

  /// Moves the weights; returns the gradient's norm before the clip. Throws std::runtime_error when it is not
  /// finite.
  double step(const tempflow::cpu_backend& cpu, const adamw_settings& settings, const vector& gradient,
              vector& weights);

  /// What a checkpoint holds.
  vector& mean() { return mean_; }
  vector& square() { return square_; }
  std::int64_t& steps() { return steps_; }

 private:
  vector mean_, square_;
  std::int64_t steps_ = 0;
};

}  // namespace fashion
