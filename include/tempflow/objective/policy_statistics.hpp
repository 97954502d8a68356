// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a policy update reports: numbers of each sample, and their summary.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "tempflow/core/index.hpp"

namespace tempflow {

/// One sample's part in the loss.
struct policy_row {
  double log_prob = 0;            ///< of the stored transition under the policy
  double log_ratio = 0;           ///< log_prob minus the old log_prob; exactly 0 on policy
  double ratio = 1;               ///< exp(log_ratio)
  double surrogate = 0;           ///< the objective's loss, weight included
  double kl = 0;                  ///< to the reference policy; 0 without one
  bool below = false;             ///< ratio below the trust region
  bool above = false;             ///< ratio above the trust region
  bool finite = true;             ///< false: the gradient of this row was set to zero
  std::uint8_t reserved[5] = {};  ///< no byte is left unwritten where a device writes rows
};

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
  index_t non_finite_rows = 0;   ///< rows whose gradient was set to zero

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

/// Summary of rows whose losses are divided by `mean_over`.
inline policy_statistics summarize(std::span<const policy_row> rows, double kl_beta, double mean_over) {
  policy_statistics total;
  if (rows.empty()) return total;
  total.rows = static_cast<index_t>(rows.size());
  double loss = 0;
  bool first = true;
  for (const policy_row& row : rows) {
    total.surrogate += row.surrogate;
    loss += row.surrogate + kl_beta * row.kl;
    if (!row.finite) {
      ++total.non_finite_rows;
      continue;
    }
    total.kl += row.kl;
    total.approx_kl += 0.5 * row.log_ratio * row.log_ratio;
    total.ratio_mean += row.ratio;
    total.ratio_min = first ? row.ratio : (std::min)(total.ratio_min, row.ratio);
    total.ratio_max = first ? row.ratio : (std::max)(total.ratio_max, row.ratio);
    total.fraction_below += row.below ? 1 : 0;
    total.fraction_above += row.above ? 1 : 0;
    total.max_abs_log_ratio = (std::max)(total.max_abs_log_ratio, std::abs(row.log_ratio));
    first = false;
  }
  total.loss = loss / mean_over;
  total.surrogate /= mean_over;
  const auto count = static_cast<double>((std::max)(total.finite_rows(), index_t{1}));
  for (double* sum :
       {&total.kl, &total.approx_kl, &total.ratio_mean, &total.fraction_below, &total.fraction_above}) {
    *sum /= count;
  }
  return total;
}

}  // namespace tempflow
