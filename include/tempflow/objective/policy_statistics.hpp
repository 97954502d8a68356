// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a policy update reports: numbers of each sample, and their summary.

#include <algorithm>
#include <span>
#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// One transition's part in the loss. Nine doubles, in this order, so that R x 9 numbers are R rows; the last four are
/// 0 or 1.
struct policy_row {
  double log_prob = 0;     ///< of the stored transition under the policy
  double log_ratio = 0;    ///< log_prob minus the old log_prob; exactly 0 on policy
  double ratio = 1;        ///< exp(log_ratio)
  double surrogate = 0;    ///< the objective's loss, weight included
  double kl = 0;           ///< to the reference policy; 0 without one
  double below = 0;        ///< ratio below the trust region
  double above = 0;        ///< ratio above the trust region
  double finite = 1;       ///< 0: the row was left out of the gradient
  double underflowed = 0;  ///< most of its policy term, slope r, is too small for the type of the gradient
};
static_assert(std::is_trivially_copyable_v<policy_row> && std::is_standard_layout_v<policy_row> &&
              sizeof(policy_row) == 9 * sizeof(double));

/// Summary over rows. Losses are sums over N, the rest means over the rows. Add up batches of an update with
/// +=.
struct policy_statistics {
  index_t rows = 0;      ///< all, finite or not
  double loss = 0;       ///< surrogate + kl_beta * KL
  double surrogate = 0;  ///< the objective's part of the loss
  double kl = 0;         ///< mean KL to the reference policy
  double approx_kl = 0;  ///< mean of log_ratio^2 / 2, the k2 estimate of the KL to the old policy
  double ratio_mean = 0;
  double ratio_min = 0;
  double ratio_max = 0;
  double fraction_below = 0;     ///< share of ratios below the trust region
  double fraction_above = 0;     ///< share above it
  double max_abs_log_ratio = 0;  ///< 0 exactly for an on-policy batch
  index_t non_finite_rows = 0;   ///< rows that were left out of the gradient
  index_t underflowed_rows =
      0;  ///< rows whose policy term the gradient's type loses: take fp32, or a loss scale

  /// Share of ratios outside the trust region.
  double clip_fraction() const { return fraction_below + fraction_above; }

  /// Rows that the means are taken over.
  index_t finite_rows() const { return rows - non_finite_rows; }

  /// Joins the statistics of two batches of one update.
  policy_statistics& operator+=(const policy_statistics& other) {
    if (other.rows == 0) return *this;
    if (rows == 0) return *this = other;
    loss += other.loss;
    surrogate += other.surrogate;
    const index_t mine = finite_rows(), theirs = other.finite_rows();
    rows += other.rows;
    non_finite_rows += other.non_finite_rows;
    underflowed_rows += other.underflowed_rows;
    if (theirs == 0) return *this;
    if (mine == 0) ratio_min = other.ratio_min, ratio_max = other.ratio_max;
    const double share = static_cast<double>(theirs) / static_cast<double>(mine + theirs);
    const auto blend = [share](double& kept, double added) { kept += share * (added - kept); };
    blend(kl, other.kl);
    blend(approx_kl, other.approx_kl);
    blend(ratio_mean, other.ratio_mean);
    blend(fraction_below, other.fraction_below);
    blend(fraction_above, other.fraction_above);
    ratio_min = (std::min)(ratio_min, other.ratio_min);
    ratio_max = (std::max)(ratio_max, other.ratio_max);
    max_abs_log_ratio = (std::max)(max_abs_log_ratio, other.max_abs_log_ratio);
    return *this;
  }
};

namespace detail {

/// Sums over rows that a summary is made of. Rows are dealt out to 32 lanes, row i to lane i mod 32, which a fixed tree
/// then folds, so that a warp of a GPU gets the bits of the host.
struct summary_sums {
  static constexpr int lanes = 32;

  double rows = 0, finite = 0, underflowed = 0;
  double loss = 0, surrogate = 0, kl = 0, approx_kl = 0, ratio = 0, below = 0, above = 0;
  double ratio_min = positive_infinity, ratio_max = -positive_infinity, max_abs_log_ratio = 0;

  TEMPFLOW_HD void add(const policy_row& row, double kl_beta) {
    rows += 1;
    surrogate += row.surrogate;
    loss += fused_multiply_add(kl_beta, row.kl, row.surrogate);
    if (row.finite == 0) return;
    finite += 1;
    underflowed += row.underflowed;
    kl += row.kl;
    approx_kl = fused_multiply_add(0.5 * row.log_ratio, row.log_ratio, approx_kl);
    ratio += row.ratio;
    below += row.below;
    above += row.above;
    const double size = row.log_ratio < 0 ? -row.log_ratio : row.log_ratio;
    ratio_min = row.ratio < ratio_min ? row.ratio : ratio_min;
    ratio_max = row.ratio > ratio_max ? row.ratio : ratio_max;
    max_abs_log_ratio = size > max_abs_log_ratio ? size : max_abs_log_ratio;
  }

  /// Joins those of another lane, each number of which is other(number of this one).
  TEMPFLOW_HD_TEMPLATE
  template <class Other>
  TEMPFLOW_HD void join(const Other& other) {
    rows += other(&summary_sums::rows);
    finite += other(&summary_sums::finite);
    underflowed += other(&summary_sums::underflowed);
    loss += other(&summary_sums::loss);
    surrogate += other(&summary_sums::surrogate);
    kl += other(&summary_sums::kl);
    approx_kl += other(&summary_sums::approx_kl);
    ratio += other(&summary_sums::ratio);
    below += other(&summary_sums::below);
    above += other(&summary_sums::above);
    const double low = other(&summary_sums::ratio_min), high = other(&summary_sums::ratio_max);
    const double size = other(&summary_sums::max_abs_log_ratio);
    ratio_min = low < ratio_min ? low : ratio_min;
    ratio_max = high > ratio_max ? high : ratio_max;
    max_abs_log_ratio = size > max_abs_log_ratio ? size : max_abs_log_ratio;
  }

  TEMPFLOW_HD policy_statistics summary(double mean_over) const {
    policy_statistics total;
    if (rows == 0) return total;
    const double count = finite > 0 ? finite : 1;
    total.rows = static_cast<index_t>(rows);
    total.loss = loss / mean_over;
    total.surrogate = surrogate / mean_over;
    total.kl = kl / count;
    total.approx_kl = approx_kl / count;
    total.ratio_mean = ratio / count;
    if (finite > 0) total.ratio_min = ratio_min, total.ratio_max = ratio_max;
    total.fraction_below = below / count;
    total.fraction_above = above / count;
    total.max_abs_log_ratio = max_abs_log_ratio;
    total.non_finite_rows = static_cast<index_t>(rows - finite);
    total.underflowed_rows = static_cast<index_t>(underflowed);
    return total;
  }
};

}  // namespace detail

/// Summary of rows whose losses are divided by `mean_over`. For rows in device memory: ops/summarize.hpp.
inline policy_statistics summarize(std::span<const policy_row> rows, double kl_beta, double mean_over) {
  detail::summary_sums lane[detail::summary_sums::lanes];
  for (std::size_t i = 0; i < rows.size(); ++i) lane[i % detail::summary_sums::lanes].add(rows[i], kl_beta);
  for (int half = detail::summary_sums::lanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) {
      lane[l].join([&](double detail::summary_sums::*sum) { return lane[l + half].*sum; });
    }
  }
  return lane[0].summary(mean_over);
}

}  // namespace tempflow
