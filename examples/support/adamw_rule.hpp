// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <stdexcept>

namespace support {

struct adamw_settings {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 1e-4;
  double max_gradient_norm = 1.0;  ///< the global norm above which a gradient is scaled down
};

/// The numbers of one step of AdamW (Loshchilov and Hutter, arXiv 1711.05101) with a global gradient norm
/// clip: g = clip * gradient, m = beta1 m + (1 - beta1) g, s = beta2 s + (1 - beta2) g^2,
/// w = keep w - rate m / (sqrt(s unbias) + epsilon).
struct adamw_rule {
  float clip, beta1, beta2, rate, unbias, keep, epsilon;

  /// For the step-th step, from 1. Throws std::runtime_error when the gradient's norm is not finite.
  adamw_rule(const adamw_settings& settings, std::int64_t step, double norm)
      : clip(static_cast<float>(norm > settings.max_gradient_norm ? settings.max_gradient_norm / norm : 1.0)),
        beta1(static_cast<float>(settings.beta1)),
        beta2(static_cast<float>(settings.beta2)),
        rate(static_cast<float>(settings.learning_rate /
                                (1 - std::pow(settings.beta1, static_cast<double>(step))))),
        unbias(static_cast<float>(1 / (1 - std::pow(settings.beta2, static_cast<double>(step))))),
        keep(static_cast<float>(1 - settings.learning_rate * settings.weight_decay)),
        epsilon(static_cast<float>(settings.epsilon)) {
    if (!std::isfinite(norm)) throw std::runtime_error("adamw: the gradient's norm is not finite");
  }
};

}  // namespace support
