// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The cpu backend against the reference backend, which computes in double: each result within a bound that
// follows from the roundings on its way.

#include <algorithm>
#include <cmath>
#include <span>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/log_prob.hpp"

using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::float16;
using tempflow::index_t;
using tempflow::policy_row;
using tempflow::transition;

namespace {

template <class T>
constexpr double eps = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;  // one rounding where T is computed

// Half the distance between neighbours of T around a number: what rounding to storage may move it by.
template <class T>
double storage_rounding(double value) {
  const double size = std::abs(value);
  if constexpr (std::is_same_v<T, bfloat16>) return std::max(size * 0x1p-8, 0x1p-134);
  if constexpr (std::is_same_v<T, float16>) return std::max(size * 0x1p-11, 0x1p-25);
  return size * eps<T>;
}

// A residual y - alpha x - beta v in fp32: both coefficients rounded, and two fused multiply-adds.
template <class T>
struct row_bounds {
  double squared = 0;        // sum of r^2 in double
  double squared_error = 0;  // bound on the fp32 sum's error
  std::vector<double> residual, residual_error;

  row_bounds(const support::drawn_rows<T>& drawn, index_t row) {
    const transition& step = drawn.steps[static_cast<std::size_t>(row)];
    for (index_t e = 0; e < drawn.x.columns(); ++e) {
      const auto at = [&](const batch_buffer<T>& batch) {
        return support::value_of(batch.view().row(row)[e]);
      };
      const double ax = step.alpha * at(drawn.x), bv = step.beta * at(drawn.v), r = at(drawn.y) - ax - bv;
      const double error =
          eps<T> * (std::abs(ax) + std::abs(bv) + std::abs(at(drawn.y) - ax) + std::abs(r)) * 1.001;
      residual.push_back(r);
      residual_error.push_back(error);
      squared += r * r;
      squared_error += 2 * std::abs(r) * error + error * error;
    }
    squared_error += 40 * eps<T> * (squared + squared_error);  // the tiled sum's own bound
    if (std::is_same_v<T, double>) squared_error += static_cast<double>(drawn.x.columns()) * eps<T> * squared;
  }

  // -squared / divisor - constants: the sum's error over the divisor, and roundings of the double arithmetic
  // around it.
  double log_prob_error(const transition& step, index_t elements) const {
    const double scale = 1 / (2 * step.std * step.std * static_cast<double>(elements));
    return scale * squared_error + 8 * 0x1p-53 * (scale * squared + std::abs(std::log(step.std)) + 1);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("log-probs of the cpu backend are within the stated bound of the reference", "[accuracy]",
                   float, double, bfloat16, float16) {
  const tempflow::reference_backend reference;
  for (const index_t columns : {1, 33, 1024, 2345, 20000}) {
    const support::drawn_rows<TestType> drawn(reference, 12, columns);
    std::vector<double> computed(12);
    tempflow::log_prob(tempflow::cpu_backend(1), drawn.x.view(), drawn.v, drawn.y, drawn.steps, computed);
    for (index_t row = 0; row < 12; ++row) {
      const auto i = static_cast<std::size_t>(row);
      const double bound = row_bounds<TestType>(drawn, row).log_prob_error(drawn.steps[i], columns);
      INFO("row " << row << " of " << columns << " columns, bound " << bound);
      CHECK(std::abs(computed[i] - drawn.log_probs[i]) <= bound);
    }
  }
}

TEMPLATE_TEST_CASE("sampled states of the cpu backend are within three fp32 roundings of the reference",
                   "[accuracy]", float, double, bfloat16, float16) {
  const index_t rows = 12, columns = 1025;
  const support::drawn_rows<TestType> exact(tempflow::reference_backend{}, rows, columns);
  const support::drawn_rows<TestType> computed(tempflow::cpu_backend(1), rows, columns);
  double worst = 0;
  for (index_t i = 0; i < rows; ++i) {
    const transition& step = exact.steps[static_cast<std::size_t>(i)];
    for (index_t e = 0; e < columns; ++e) {
      const auto at = [&](const batch_buffer<TestType>& batch) {
        return support::value_of(batch.view().row(i)[e]);
      };
      // Coefficients rounded, product and two fused multiply-adds; then both sides round to storage.
      const double terms =
          std::abs(step.alpha * at(exact.x)) + std::abs(step.beta * at(exact.v)) + 6.6 * step.std;
      const double bound = 4 * eps<TestType> * terms + 2.01 * storage_rounding<TestType>(at(exact.y));
      worst = std::max(worst, std::abs(at(computed.y) - at(exact.y)) / bound);
    }
  }
  CHECK(worst <= 1);
}

TEMPLATE_TEST_CASE("gradients of the cpu backend are within the stated bound of the reference", "[accuracy]",
                   float, double, bfloat16, float16) {
  const index_t rows = 12;
  const tempflow::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.5};
  for (const index_t columns : {1, 33, 1025}) {
    support::drawn_rows<TestType> drawn(tempflow::reference_backend{}, rows, columns);
    for (double& old : drawn.log_probs) old += 0.1;  // off policy
    batch_buffer<double> exact(rows, columns), computed(rows, columns);
    std::vector<policy_row> table(static_cast<std::size_t>(rows));
    tempflow::policy_loss(tempflow::reference_backend{}, drawn.batch(), drawn.v.view(), drawn.v_ref,
                          objective, exact.view(), std::span<policy_row>(table));
    tempflow::policy_loss(tempflow::cpu_backend(1), drawn.batch(), drawn.v.view(), drawn.v_ref, objective,
                          computed.view());
    double worst = 0;
    for (index_t i = 0; i < rows; ++i) {
      const auto row = static_cast<std::size_t>(i);
      const transition& step = drawn.steps[row];
      const row_bounds<TestType> bounds(drawn, i);
      const auto divisor = static_cast<double>(columns * rows);
      // dL/dv = slope r + pull (v - v_ref) with slope = -w A ratio beta / (D std^2 N), pull = kl_beta beta^2
      // / (D std^2 N)
      const double slope = drawn.weights[row] * std::abs(drawn.advantages[row] * step.beta) *
                           table[row].ratio / (step.std * step.std * divisor);
      const double pull = 0.5 * step.beta * step.beta / (step.std * step.std * divisor);
      const double slope_error = eps<TestType> + 1.01 * bounds.log_prob_error(step, columns) + 8 * 0x1p-53;
      for (index_t e = 0; e < columns; ++e) {
        const auto k = static_cast<std::size_t>(e);
        const double away = std::abs(support::value_of(drawn.v.view().row(i)[e]) -
                                     support::value_of(drawn.v_ref.view().row(i)[e]));
        const double r = std::abs(bounds.residual[k]), expected = exact.view().row(i)[e];
        const double bound =
            slope * (bounds.residual_error[k] + (r + bounds.residual_error[k]) * slope_error) +
            pull * away * 4 * eps<TestType> + 2 * eps<TestType> * (slope * r + pull * away);
        worst = std::max(worst, std::abs(computed.view().row(i)[e] - expected) / bound);
      }
    }
    INFO(columns << " columns");
    CHECK(worst <= 1);
  }
}

TEMPLATE_TEST_CASE("losses and KL of the cpu backend are those of the reference", "[accuracy]", float, double,
                   bfloat16) {
  const index_t rows = 12, columns = 1025;
  support::drawn_rows<TestType> drawn(tempflow::reference_backend{}, rows, columns);
  const tempflow::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.5};
  std::vector<policy_row> exact(static_cast<std::size_t>(rows)), computed(static_cast<std::size_t>(rows));
  const auto total =
      tempflow::policy_loss(tempflow::reference_backend{}, drawn.batch(), drawn.v.view(), drawn.v_ref,
                            objective, tempflow::batch_view<float>(), std::span<policy_row>(exact));
  const auto other =
      tempflow::policy_loss(tempflow::cpu_backend(1), drawn.batch(), drawn.v.view(), drawn.v_ref, objective,
                            tempflow::batch_view<float>(), std::span<policy_row>(computed));
  double loss_bound = 0;
  for (index_t i = 0; i < rows; ++i) {
    const auto row = static_cast<std::size_t>(i);
    const double log_prob_error = row_bounds<TestType>(drawn, i).log_prob_error(drawn.steps[row], columns);
    const double kl_error = exact[row].kl * (3 * eps<TestType> + 40 * eps<TestType> + 2000 * 0x1p-53);
    CHECK(std::abs(computed[row].log_ratio - exact[row].log_ratio) <= log_prob_error);
    CHECK(std::abs(computed[row].kl - exact[row].kl) <= kl_error);
    loss_bound += std::abs(exact[row].surrogate) * 1.01 * log_prob_error + 0.5 * kl_error + 1e-15;
  }
  CHECK(std::abs(other.loss - total.loss) <= loss_bound / static_cast<double>(rows));
}
