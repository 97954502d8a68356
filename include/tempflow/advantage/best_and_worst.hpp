// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The samples worth training on, the best and the worst of many: half of the work for most of the signal.
//
//   const auto selection = best_and_worst(advantages, groups, 8);      // of 24, say: 4 best and 4 worst of each group
//   minibatches(rollout, advantages, weights, {.leave_out = {.advantages = selection.rest}})
//
// Source: DanceGRPO, arXiv 2505.07818 (best-of-N, over a whole batch).

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// The samples that best_and_worst chose and the others: places among the scores, ascending.
struct sample_selection {
  std::vector<index_t> chosen;
  std::vector<index_t> rest;  ///< the others, for minibatch_options::leave_out
};

/// Chooses the count / 2 highest and the count / 2 lowest scores of each group; all, where excluded ones leave no
/// more. Of equal scores the earlier ones count as higher. Scores are advantages, usually, computed over all samples;
/// choosing does not change them.
///
/// Throws shape_error for sizes that differ; value_error for a count that is odd or below 2, or a score that is not
/// finite unless these are excluded; group_error for no samples, or a group of fewer than `count`.
inline sample_selection best_and_worst(std::span<const double> scores, std::span<const std::int64_t> groups,
                                       index_t count,
                                       not_finite_rewards not_finite = not_finite_rewards::refuse) {
  if (groups.size() != scores.size()) {
    throw shape_error(detail::message("best_and_worst: groups has ", groups.size(), " entries, scores has ",
                                      scores.size()));
  }
  if (count < 2 || count % 2 != 0) {
    throw value_error(detail::message("best_and_worst: count = ", count, ", must be even and positive"));
  }
  if (scores.empty()) throw group_error("best_and_worst: no samples");
  const auto score = [&](index_t i) { return scores[static_cast<std::size_t>(i)]; };
  for (std::size_t i = 0; i < scores.size() && not_finite == not_finite_rewards::refuse; ++i) {
    if (!is_finite(scores[i])) {
      throw value_error(detail::message("best_and_worst: scores[", i, "] = ", scores[i], ", must be finite"));
    }
  }
  sample_selection selection;
  std::vector<index_t> order(groups.size()), ranked;
  const index_t half = count / 2;
  detail::by_group(groups, order, [&](const auto& place) {
    detail::for_each_group(groups, place, [&](std::size_t first, std::size_t last) {
      if (static_cast<index_t>(last - first) < count) {
        throw group_error(detail::message("best_and_worst: group ", groups[place(first)], " has ",
                                          last - first, " samples, fewer than ", count));
      }
      ranked.clear();
      for (std::size_t i = first; i < last; ++i) {
        const auto at = static_cast<index_t>(place(i));
        (is_finite(score(at)) ? ranked : selection.rest).push_back(at);
      }
      std::ranges::sort(
          ranked, [&](index_t a, index_t b) { return score(a) != score(b) ? score(a) > score(b) : a < b; });
      const auto size = static_cast<index_t>(ranked.size());
      for (index_t i = 0; i < size; ++i) {
        const bool taken = i < half || i >= size - half;
        (taken ? selection.chosen : selection.rest).push_back(ranked[static_cast<std::size_t>(i)]);
      }
    });
  });
  std::sort(selection.chosen.begin(), selection.chosen.end());
  std::sort(selection.rest.begin(), selection.rest.end());
  return selection;
}

/// As above, over all scores together: DanceGRPO's choice.
inline sample_selection best_and_worst(std::span<const double> scores, index_t count,
                                       not_finite_rewards not_finite = not_finite_rewards::refuse) {
  return best_and_worst(scores, std::vector<std::int64_t>(scores.size()), count, not_finite);
}

/// As above, by advantages, of which excluded samples have none: they are in the rest.
inline sample_selection best_and_worst(const advantage_set& advantages, std::span<const std::int64_t> groups,
                                       index_t count) {
  std::vector<double> scores = advantages.values;
  for (const index_t i : advantages.excluded) scores[static_cast<std::size_t>(i)] = not_a_number;
  return best_and_worst(scores, groups, count, not_finite_rewards::exclude);
}

}  // namespace tempflow
