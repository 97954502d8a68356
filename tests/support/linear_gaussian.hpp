// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A model whose policy gradient is known: v = w x + b in every element and at every sigma, and a reward that
// is quadratic in the finished sample.

#include <cmath>
#include <span>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/statistics.hpp"
#include "tempflow/schedule/chain.hpp"

namespace support {

/// The parameters of the model, or a derivative by them.
struct linear_policy {
  double w = 0, b = 0;
};

/// Reward of a finished sample: -sum over the elements of (sample - target)^2.
inline constexpr double reward_targets[] = {1.0, 0.5};
inline constexpr index_t reward_dimension = 2;

template <class T>
double reward_of(const T* sample) {
  double sum = 0;
  for (index_t d = 0; d < reward_dimension; ++d) {
    const double off = value_of(sample[d]) - reward_targets[d];
    sum -= off * off;
  }
  return sum;
}

template <class E, class T>
void linear_velocity(const linear_policy& policy, batch_view<E> x, batch_view<T> v) {
  for (index_t i = 0; i < x.rows(); ++i) {
    for (index_t d = 0; d < x.columns(); ++d) {
      v.row(i)[d] = tempflow::store<T>(policy.w * value_of(x.row(i)[d]) + policy.b);
    }
  }
}

/// dL/dtheta of one row from its dL/dv: dv/dw = x and dv/db = 1.
template <class T, class G>
linear_policy backward(const T* x, const G* gradient) {
  linear_policy sum;
  for (index_t d = 0; d < reward_dimension; ++d) {
    sum.w += value_of(gradient[d]) * value_of(x[d]);
    sum.b += value_of(gradient[d]);
  }
  return sum;
}

/// E[R] and its derivatives when every step of the chain is drawn from x_0 ~ N(0, 1): mean and variance of an
/// element obey m' = k m + beta b, V' = k^2 V + std^2 with k = alpha + beta w, and so do their derivatives.
struct trajectory_gradient {
  double reward = 0;
  linear_policy derivative;

  trajectory_gradient(const tempflow::chain& steps, const linear_policy& policy) {
    double mean = 0, variance = 1;
    linear_policy d_mean, d_variance;
    for (index_t i = 0; i < steps.steps(); ++i) {
      const auto& step = steps[i];
      const double k = step.alpha + step.beta * policy.w;
      d_variance = {2 * k * step.beta * variance + k * k * d_variance.w, k * k * d_variance.b};
      d_mean = {step.beta * mean + k * d_mean.w, step.beta + k * d_mean.b};
      variance = k * k * variance + step.std * step.std;
      mean = k * mean + step.beta * policy.b;
    }
    for (const double target : reward_targets) {
      reward -= (mean - target) * (mean - target) + variance;
      derivative.w -= 2 * (mean - target) * d_mean.w + d_variance.w;
      derivative.b -= 2 * (mean - target) * d_mean.b + d_variance.b;
    }
  }
};

/// The finished sample as P y + Q when the ODE takes y through the knots of a grid.
struct completion {
  double p = 1, q = 0;

  completion(std::span<const double> sigmas, const linear_policy& policy) {
    for (std::size_t i = 0; i + 1 < sigmas.size(); ++i) {
      const double dt = sigmas[i] - sigmas[i + 1], k = 1 - dt * policy.w;
      p *= k;
      q = k * q - dt * policy.b;
    }
  }
};

/// d E[R] / d theta of one stochastic step from a given x, theta acting in that step alone.
template <class T>
linear_policy branch_gradient(const tempflow::transition& step, const T* x, const linear_policy& policy,
                              const completion& to_the_end) {
  linear_policy sum;
  for (index_t d = 0; d < reward_dimension; ++d) {
    const double at = value_of(x[d]), mean = step.alpha * at + step.beta * (policy.w * at + policy.b);
    const double slope =
        -2 * (to_the_end.p * mean + to_the_end.q - reward_targets[d]) * to_the_end.p * step.beta;
    sum.w += slope * at;
    sum.b += slope;
  }
  return sum;
}

/// Independent estimates of a gradient.
struct gradient_samples {
  std::vector<double> w, b;

  void add(const linear_policy& sample) { w.push_back(sample.w), b.push_back(sample.b); }

  /// The mean of the samples is `expected` within four standard errors, and known to 2 per cent of `size` at
  /// least.
  void check(const linear_policy& expected, const linear_policy& size) const {
    const auto check_one = [](const char* name, const estimate& found, double value, double scale) {
      INFO(name << ": " << found.mean << " +- " << found.standard_error << ", expected " << value);
      CHECK(std::abs(found.mean - value) < 4 * found.standard_error);
      CHECK(found.standard_error < 0.02 * std::abs(scale));
    };
    check_one("dw", mean_of(w), expected.w, size.w);
    check_one("db", mean_of(b), expected.b, size.b);
  }
};

}  // namespace support
