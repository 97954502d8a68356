// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rewards from comparisons: how often a sample is preferred to the others of its group.
//
//   R_i = 1 / (n - 1) sum_{j != i} P(i beats j)         1, 0, or anything between; 1/2 for a tie
//
// Its spread is bounded, where scores that hardly differ would be blown up by their std. group_advantages takes it on.
// Source: Pref-GRPO, arXiv 2508.20751.

#include <concepts>
#include <cstdint>
#include <span>
#include <vector>

#include "tempflow/advantage/detail/groups.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

namespace detail {

/// visit(i, j) for every two samples of a group, i < j, after it has been seen that all have company.
template <class Visit>
void for_each_pair(std::span<const std::int64_t> groups, std::span<index_t> company, const Visit& visit) {
  if (groups.empty()) throw group_error("win_rates: no samples");
  std::vector<index_t> order(groups.size());
  by_group(groups, order, [&](const auto& place) {
    for_each_group(groups, place, [&](std::size_t first, std::size_t last) {
      if (last - first == 1) {
        throw group_error(
            message("win_rates: group ", groups[place(first)], " has 1 sample, and none to compare"));
      }
      for (std::size_t i = first; i < last; ++i) company[place(i)] = static_cast<index_t>(last - first - 1);
    });
    for_each_group(groups, place, [&](std::size_t first, std::size_t last) {
      for (std::size_t i = first; i < last; ++i) {
        for (std::size_t j = i + 1; j < last; ++j) visit(place(i), place(j));
      }
    });
  });
}

inline double checked_preference(double preference, std::size_t i, std::size_t j) {
  if (!is_finite(preference) || preference < 0 || preference > 1) {
    throw value_error(message("win_rates: preference of sample ", i, " over ", j, " = ", preference,
                              ", must be in [0, 1]"));
  }
  return preference;
}

}  // namespace detail

/// Win rates by a judge: beats(i, j) is the probability, or 0, 1/2 and 1, that sample i is preferred to j. It is
/// asked once for each pair of a group, with i < j; its complement is j's. A judge that favours what it sees first is
/// better asked both ways, and averaged.
///
/// Throws group_error for no samples or a group of one, before the first question; value_error for an answer outside
/// [0, 1]; exceptions of the judge pass through.
template <std::invocable<index_t, index_t> Judge>
std::vector<double> win_rates(std::span<const std::int64_t> groups, Judge&& beats) {
  std::vector<double> rates(groups.size());
  std::vector<index_t> company(groups.size());
  detail::for_each_pair(groups, company, [&](std::size_t i, std::size_t j) {
    const double won = detail::checked_preference(
        static_cast<double>(beats(static_cast<index_t>(i), static_cast<index_t>(j))), i, j);
    rates[i] += won, rates[j] += 1 - won;
  });
  for (std::size_t i = 0; i < rates.size(); ++i) rates[i] /= static_cast<double>(company[i]);
  return rates;
}

/// Win rates from a table of n x n preferences, row by row: entry (i, j) is that of sample i over j. Both entries of
/// a pair are read, and need not add up to 1: a tie may be 0 for both, as Pref-GRPO counts. Those between groups and
/// of a sample over itself are not read.
///
/// Throws shape_error for another number of preferences than n^2, and as above.
inline std::vector<double> win_rates(std::span<const std::int64_t> groups,
                                     std::span<const double> preferences) {
  const std::size_t n = groups.size();
  if (preferences.size() != n * n) {
    throw shape_error(detail::message("win_rates: ", preferences.size(), " preferences of ", n,
                                      " samples, must be ", n * n));
  }
  std::vector<double> rates(n);
  std::vector<index_t> company(n);
  detail::for_each_pair(groups, company, [&](std::size_t i, std::size_t j) {
    rates[i] += detail::checked_preference(preferences[i * n + j], i, j);
    rates[j] += detail::checked_preference(preferences[j * n + i], j, i);
  });
  for (std::size_t i = 0; i < n; ++i) rates[i] /= static_cast<double>(company[i]);
  return rates;
}

/// Win rates from scores: the higher wins, equal ones tie. Rewards become ranks, whatever their scale.
///
/// Throws shape_error for sizes that differ, value_error for a score that is not finite, and as above.
inline std::vector<double> win_rates_of_scores(std::span<const double> scores,
                                               std::span<const std::int64_t> groups) {
  if (scores.size() != groups.size()) {
    throw shape_error(detail::message("win_rates_of_scores: groups has ", groups.size(),
                                      " entries, scores has ", scores.size()));
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!is_finite(scores[i])) {
      throw value_error(
          detail::message("win_rates_of_scores: scores[", i, "] = ", scores[i], ", must be finite"));
    }
  }
  return win_rates(groups, [&](index_t i, index_t j) {
    const double a = scores[static_cast<std::size_t>(i)], b = scores[static_cast<std::size_t>(j)];
    return a > b ? 1.0 : a < b ? 0.0 : 0.5;
  });
}

}  // namespace tempflow
