// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "adamw.hpp"

#include <cmath>
#include <numbers>
#include <stdexcept>
#include <vector>

namespace fashion {

double cosine_rate(double peak, int step, int steps) {
  const double done = static_cast<double>(step) / steps;
  return peak * std::min(1.0, (step + 1) / 100.0) * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

double adamw::step(const tempflow::cpu_backend& cpu, const adamw_settings& settings, const vector& gradient,
                   vector& weights) {
  constexpr Eigen::Index block = 16384;  // fixed, so that sums do not depend on the number of threads
  const auto size = weights.size();
  const auto blocks = (size + block - 1) / block;
  std::vector<double> squares(static_cast<std::size_t>(blocks));
  cpu.for_each_index(blocks, [&](tempflow::index_t b) {
    const auto g = gradient.segment(b * block, std::min(block, size - b * block));
    squares[static_cast<std::size_t>(b)] = g.squaredNorm();
  });
  double norm = 0;
  for (const double s : squares) norm += s;
  norm = std::sqrt(norm);
  if (!std::isfinite(norm)) throw std::runtime_error("adamw: the gradient's norm is not finite");

  ++steps_;
  const auto n = static_cast<double>(steps_);
  const auto clip =
      static_cast<float>(norm > settings.max_gradient_norm ? settings.max_gradient_norm / norm : 1.0);
  const auto b1 = static_cast<float>(settings.beta1), b2 = static_cast<float>(settings.beta2);
  const auto rate = static_cast<float>(settings.learning_rate / (1 - std::pow(settings.beta1, n)));
  const auto unbias = static_cast<float>(1 / (1 - std::pow(settings.beta2, n)));
  const auto keep = static_cast<float>(1 - settings.learning_rate * settings.weight_decay);
  const auto epsilon = static_cast<float>(settings.epsilon);
  cpu.for_each_index(blocks, [&](tempflow::index_t b) {
    const auto begin = b * block, count = std::min(block, size - begin);
    auto m = mean_.segment(begin, count).array(), s = square_.segment(begin, count).array();
    auto w = weights.segment(begin, count).array();
    const auto g = gradient.segment(begin, count).array() * clip;
    m = b1 * m + (1 - b1) * g;
    s = b2 * s + (1 - b2) * g.square();
    w = keep * w - rate * m / ((s * unbias).sqrt() + epsilon);
  });
  return norm;
}

}  // namespace fashion
