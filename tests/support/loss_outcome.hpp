// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a loss came to.

#include <algorithm>
#include <vector>

#include "support/batches.hpp"
#include "tempflow/objective/policy_statistics.hpp"

namespace support {

/// True when each element of a row is 0, of either sign.
template <class G>
bool row_is_zero(const batch_buffer<G>& batch, index_t row) {
  const auto values = values_of(batch.view().slice(row, 1));
  return std::all_of(values.begin(), values.end(), [](double g) { return g == 0; });
}

/// A gradient, and the numbers of the rows that it is made of.
template <class G>
struct loss_outcome {
  batch_buffer<G> gradient;
  std::vector<tempflow::policy_row> rows;
  tempflow::policy_statistics total;

  bool is_zero(index_t row) const { return row_is_zero(gradient, row); }
};

/// True when rows have the same numbers, bit for bit but for the sign of a zero.
inline bool same_numbers(const std::vector<tempflow::policy_row>& a,
                         const std::vector<tempflow::policy_row>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& l, const auto& r) {
    return l.log_prob == r.log_prob && l.log_ratio == r.log_ratio && l.ratio == r.ratio &&
           l.surrogate == r.surrogate && l.kl == r.kl && l.below == r.below && l.above == r.above &&
           l.finite == r.finite && l.underflowed == r.underflowed;
  });
}

}  // namespace support
