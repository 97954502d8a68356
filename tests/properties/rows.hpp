// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What is true of the rows and the gradient of any loss, whatever it was given.

#include <cmath>
#include <span>
#include <vector>

#include "properties/property.hpp"
#include "support/batches.hpp"
#include "support/loss_outcome.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/objective/policy_statistics.hpp"

namespace properties {

/// Marks are marks; a row that counts has finite numbers, one that was left out shows it.
inline void check_rows(std::span<const tempflow::policy_row> rows, std::span<const double> old_log_probs,
                       bool has_ratio) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const tempflow::policy_row& row = rows[i];
    for (const double mark : {row.finite, row.underflowed, row.below, row.above})
      require(mark == 0 || mark == 1, "a mark of row ", i, " is ", mark);
    if (row.finite == 0) {
      require(!tempflow::is_finite(row.surrogate), "row ", i, " was left out, and its loss is ",
              row.surrogate);
      continue;
    }
    require(tempflow::is_finite(row.log_prob) && tempflow::is_finite(row.log_ratio) &&
                tempflow::is_finite(row.surrogate) && tempflow::is_finite(row.kl),
            "row ", i, " counts, with log_prob ", row.log_prob, ", log_ratio ", row.log_ratio, ", loss ",
            row.surrogate, ", KL ", row.kl);
    if (!has_ratio) continue;
    require(row.log_ratio == row.log_prob - old_log_probs[i], "the log-ratio of row ", i);
    require(row.ratio == std::exp(row.log_ratio), "the ratio of row ", i);
  }
}

/// No element of a gradient is infinite or NaN.
template <class G>
void check_all_finite(const support::batch_buffer<G>& gradient) {
  for (index_t i = 0; i < gradient.rows(); ++i) {
    for (index_t e = 0; e < gradient.columns(); ++e) {
      const double g = support::value_of(gradient.view().row(i)[e]);
      require(tempflow::is_finite(g), "element ", e, " of the gradient of state ", i, " is ", g);
    }
  }
}

/// The numbers of rows, but for underflow, which depends on the type of the gradient. Any NaN is as good as another.
inline bool same_rows(std::vector<tempflow::policy_row> a, std::vector<tempflow::policy_row> b) {
  using tempflow::policy_row;
  for (auto* rows : {&a, &b}) {
    for (policy_row& row : *rows) {
      row.underflowed = 0;
      for (double policy_row::*number : {&policy_row::log_prob, &policy_row::log_ratio, &policy_row::ratio,
                                         &policy_row::surrogate, &policy_row::kl}) {
        if (row.*number != row.*number) row.*number = 77;
      }
    }
  }
  return support::same_numbers(a, b);
}

}  // namespace properties
