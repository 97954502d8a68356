// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "adamw.hpp"

#include <cmath>
#include <numbers>
#include <vector>

namespace fashion {

double cosine_rate(double peak, int step, int steps) {
  const double done = static_cast<double>(step) / steps;
  return peak * std::min(1.0, (step + 1) / 100.0) * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

double adamw::step(const tempflow::cpu_backend& cpu, const support::adamw_settings& settings,
                   const vector& gradient, vector& weights) {
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
  const support::adamw_rule rule(settings, steps_ + 1, norm);
  ++steps_;
  cpu.for_each_index(blocks, [&](tempflow::index_t b) {
    const auto begin = b * block, count = std::min(block, size - begin);
    auto m = mean_.segment(begin, count).array(), s = square_.segment(begin, count).array();
    auto w = weights.segment(begin, count).array();
    const auto g = gradient.segment(begin, count).array() * rule.clip;
    m = rule.beta1 * m + (1 - rule.beta1) * g;
    s = rule.beta2 * s + (1 - rule.beta2) * g.square();
    w = rule.keep * w - rule.rate * m / ((s * rule.unbias).sqrt() + rule.epsilon);
  });
  return norm;
}

}  // namespace fashion
