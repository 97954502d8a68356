// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Flow models for rollouts: one whose rows do not depend on their batch, and one whose rows do.

#include <algorithm>
#include <cmath>
#include <span>

#include "support/batches.hpp"
#include "tempflow/rollout/velocity_model.hpp"

namespace support {

/// A nonlinear velocity of x, sigma and prompt, row by row; counts what it was asked for.
template <class T>
class row_model {
 public:
  using value_type = T;

  explicit row_model(index_t dimension) : dimension_(dimension) {}

  index_t dimension() const { return dimension_; }

  void velocity(batch_view<const T> x, std::span<const double> sigma, std::span<const index_t> prompts,
                batch_view<T> v) {
    ++calls;
    evaluations += x.rows();
    largest_call = std::max(largest_call, x.rows());
    for (index_t i = 0; i < x.rows(); ++i) {
      const auto row = static_cast<std::size_t>(i);
      for (index_t e = 0; e < dimension_; ++e) {
        const double at = value_of(x.row(i)[e]), next = value_of(x.row(i)[(e + 1) % dimension_]);
        const double condition = 0.1 * static_cast<double>(prompts[row] % 7);
        v.row(i)[e] = tempflow::store<T>(std::sin(at + 0.3 * next + condition) + sigma[row] * at +
                                         disturbance(x.rows(), i));
      }
    }
  }

  index_t calls = 0, evaluations = 0, largest_call = 0;
  double batch_effect = 0;  ///< how much a row feels the size of its batch and its place in it

 private:
  double disturbance(index_t rows, index_t row) const {
    return batch_effect * (1 / static_cast<double>(rows) + 1e-2 * static_cast<double>(row % 8));
  }

  index_t dimension_;
};

static_assert(tempflow::velocity_model<row_model<float>>);

}  // namespace support
