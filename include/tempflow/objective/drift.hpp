// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How far a policy is from the one that drew the samples, step by step of the chain, from numbers that the operations
// give: l = log p_new - log p_old of each row, r = e^l.
//
//   const auto drift = drift_by_step(rows, row_steps, chain.steps());     // rows: what policy_loss wrote
//   drift[3].max_abs, total_drift(drift).effective_share()
//
// Samples come from the old policy, so these estimate KL(old || new), with the reduction of the log-probs:
//
//   k1 = -mean l,   k2 = mean l^2 / 2,   k3 = mean(r - 1 - l) >= 0
//   effective sample size = (sum r)^2 / sum r^2
//
// Sources: Schulman, "Approximating KL divergence", 2020; Kong, "A note on importance sampling", 1992.

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/running_moments.hpp"
#include "tempflow/objective/policy_statistics.hpp"

namespace tempflow {

/// Drift of the rows of a step: plain numbers that += joins, those of batches and of processes. Rows are added one
/// after another, so bits depend on their order alone; processes that are to agree join theirs in one order, say by
/// rank.
struct step_drift {
  index_t rows = 0;                                          ///< all, finite or not
  index_t non_finite_rows = 0;                               ///< left out of all else
  double max_abs = 0;                                        ///< largest |l|: compare it with the clip range
  double sum_abs = 0, sum = 0, sum_squares = 0, sum_k3 = 0;  ///< of |l|, l, l^2, r - 1 - l
  double below = 0, above = 0;                               ///< rows outside the trust region
  /// Largest l, and sums of r / e^peak and of its square: no ratio overflows.
  double peak = 0, sum_ratios = 0, sum_squared_ratios = 0;

  /// Takes up a row whose l is finite.
  void add(double log_ratio, bool is_below = false, bool is_above = false) {
    step_drift one{.rows = 1, .max_abs = std::abs(log_ratio), .sum_abs = std::abs(log_ratio)};
    one.sum = log_ratio;
    one.sum_squares = log_ratio * log_ratio;
    one.sum_k3 = std::expm1(log_ratio) - log_ratio;
    one.below = is_below ? 1 : 0, one.above = is_above ? 1 : 0;
    one.peak = log_ratio;
    one.sum_ratios = one.sum_squared_ratios = 1;
    *this += one;
  }

  /// Joins the rows of another.
  step_drift& operator+=(const step_drift& other) {
    const bool none = finite_rows() == 0, others = other.finite_rows() > 0;
    rows += other.rows;
    non_finite_rows += other.non_finite_rows;
    max_abs = (std::max)(max_abs, other.max_abs);
    sum_abs += other.sum_abs, sum += other.sum, sum_squares += other.sum_squares, sum_k3 += other.sum_k3;
    below += other.below, above += other.above;
    if (!others) return *this;
    const double top = none ? other.peak : (std::max)(peak, other.peak);
    const double mine = std::exp(none ? 0 : peak - top), theirs = std::exp(other.peak - top);
    sum_ratios = fused_multiply_add(sum_ratios, mine, other.sum_ratios * theirs);
    sum_squared_ratios =
        fused_multiply_add(sum_squared_ratios, mine * mine, other.sum_squared_ratios * (theirs * theirs));
    peak = top;
    return *this;
  }

  index_t finite_rows() const { return rows - non_finite_rows; }

  // Means over the finite rows; 0 without any.
  double mean_abs() const { return over_rows(sum_abs); }
  double k1() const { return over_rows(-sum); }
  double k2() const { return over_rows(0.5 * sum_squares); }
  double k3() const { return over_rows(sum_k3); }
  double fraction_below() const { return over_rows(below); }
  double fraction_above() const { return over_rows(above); }

  /// Effective sample size as a share of the finite rows: 1 on policy, 1 / rows where one ratio outweighs all others.
  double effective_share() const {
    return finite_rows() == 0 ? 0 : over_rows(sum_ratios * sum_ratios / sum_squared_ratios);
  }

 private:
  double over_rows(double sum_of_rows) const {
    return finite_rows() == 0 ? 0 : sum_of_rows / static_cast<double>(finite_rows());
  }
};

namespace detail {

/// Throws shape_error for another number of steps than rows, value_error for a step outside [0, count).
inline void check_row_steps(std::string_view function, std::size_t rows, std::span<const index_t> steps,
                            index_t count) {
  if (steps.size() != rows) {
    throw shape_error(message(function, ": steps has ", steps.size(), " entries, of ", rows, " rows"));
  }
  for (std::size_t i = 0; i < rows; ++i) {
    if (steps[i] < 0 || steps[i] >= count) {
      throw value_error(message(function, ": steps[", i, "] = ", steps[i], ", must be in [0, ", count, ")"));
    }
  }
}

}  // namespace detail

/// Drift of each step of the chain, `count` entries, from the rows that policy_loss wrote. steps: one per row
/// (trajectory_row::step). A row that is not finite is only counted.
///
/// Throws shape_error for sizes that differ, value_error for a step outside [0, count).
inline std::vector<step_drift> drift_by_step(std::span<const policy_row> rows, std::span<const index_t> steps,
                                             index_t count) {
  detail::check_row_steps("drift_by_step", rows.size(), steps, count);
  std::vector<step_drift> drift(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    step_drift& of = drift[static_cast<std::size_t>(steps[i])];
    if (rows[i].finite != 0 && is_finite(rows[i].log_ratio)) {
      of.add(rows[i].log_ratio, rows[i].below != 0, rows[i].above != 0);
    } else {
      ++of.rows, ++of.non_finite_rows;
    }
  }
  return drift;
}

/// As above, from log-ratios alone, as rescoring gives them (new - old): no row is outside a trust region.
inline std::vector<step_drift> drift_by_step(std::span<const double> log_ratios,
                                             std::span<const index_t> steps, index_t count) {
  detail::check_row_steps("drift_by_step", log_ratios.size(), steps, count);
  std::vector<step_drift> drift(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < log_ratios.size(); ++i) {
    step_drift& of = drift[static_cast<std::size_t>(steps[i])];
    if (is_finite(log_ratios[i])) {
      of.add(log_ratios[i]);
    } else {
      ++of.rows, ++of.non_finite_rows;
    }
  }
  return drift;
}

/// Drift of all steps together.
inline step_drift total_drift(std::span<const step_drift> steps) {
  step_drift sum;
  for (const step_drift& of : steps) sum += of;
  return sum;
}

/// Joins the drift of two batches, step by step. Throws shape_error for chains of other lengths.
inline void join_drift(std::span<step_drift> steps, std::span<const step_drift> others) {
  if (steps.size() != others.size()) {
    throw shape_error(
        detail::message("join_drift: steps has ", steps.size(), " entries, others has ", others.size()));
  }
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i] += others[i];
}

/// Mean and std of a number of each row, by step of the chain, `count` entries. What they say depends on the numbers:
///
/// - rewards: how much they vary at a step, prompts and luck of the seed included;
/// - centred rewards (group_advantages with advantage_scale::none): how much a step's own draws change them;
/// - projections of each row's gradient on one direction, the same for all rows (another batch's gradient, say):
///   signal_to_noise() is that of a row's gradient along it, sqrt(count) times as much of their mean. Norms will not
///   do, and nor will what policy_row holds: sizes say nothing of whether gradients agree.
///
/// Throws shape_error for sizes that differ, value_error for a step outside [0, count) or a number that is not finite.
inline std::vector<running_moments> moments_by_step(std::span<const double> numbers,
                                                    std::span<const index_t> steps, index_t count) {
  detail::check_row_steps("moments_by_step", numbers.size(), steps, count);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (!is_finite(numbers[i])) {
      throw value_error(detail::message("moments_by_step: numbers[", i, "] = ", numbers[i], " (step ",
                                        steps[i], "), must be finite"));
    }
  }
  std::vector<running_moments> moments(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    moments[static_cast<std::size_t>(steps[i])].add(numbers[i]);
  }
  return moments;
}

}  // namespace tempflow
