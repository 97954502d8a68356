// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Mean and spread of numbers that arrive in parts: batches, processes.

#include <cmath>

#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// Moments of numbers met so far: three plain numbers, to add up, store and send. Bits depend on the order of parts,
/// so processes that are to agree add theirs in one order, say by rank.
///
///   mean = mean_a + (n_b / n) d,   squares = squares_a + squares_b + (n_a n_b / n) d^2,   d = mean_b - mean_a
///
/// Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
struct running_moments {
  index_t count = 0;
  double mean = 0;
  double squares = 0;  ///< sum of (x - mean)^2

  /// Takes up a number.
  void add(double value) { *this += running_moments{.count = 1, .mean = value}; }

  /// Takes up the numbers of another.
  running_moments& operator+=(const running_moments& other) {
    if (other.count == 0) return *this;
    if (count == 0) return *this = other;
    const auto mine = static_cast<double>(count), theirs = static_cast<double>(other.count);
    const double apart = other.mean - mean, share = theirs / (mine + theirs);
    mean = fused_multiply_add(share, apart, mean);
    squares += fused_multiply_add(apart * apart, mine * share, other.squares);
    count += other.count;
    return *this;
  }

  /// Standard deviation, over count - less: 0 for that of these numbers, 1 for the sample estimate. 0 where nothing
  /// is left to divide by.
  double std(index_t less = 0) const {
    return count > less ? std::sqrt(squares / static_cast<double>(count - less)) : 0;
  }

  /// |mean| / std (sample estimate), of one of the numbers; sqrt(count) times as much of their mean. 0 without a
  /// mean, infinite without a spread, NaN for fewer than two numbers.
  double signal_to_noise() const {
    if (count < 2) return not_a_number;
    return mean == 0 ? 0 : std::abs(mean) / std(1);
  }
};

}  // namespace tempflow
