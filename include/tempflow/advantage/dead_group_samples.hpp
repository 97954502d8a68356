// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What an update can do without: groups whose advantages are all 0.
//
//   minibatches(rollout, advantages, weights, {.leave_out = {.advantages = dead_group_samples(advantages, groups)}})
//
// Source: the filter of groups of equal rewards of DAPO, arXiv 2503.14476, section 3.2.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "tempflow/advantage/detail/groups.hpp"
#include "tempflow/core/error.hpp"

namespace tempflow {

/// Samples of the groups whose advantages are all 0 (equal rewards, singletons), ascending; of advantages of rows,
/// rows. A sample with advantage 0 among others that have one is not among them; an excluded one among such is left
/// out by minibatches.
///
/// Throws shape_error for another number of groups than advantages.
inline std::vector<index_t> dead_group_samples(std::span<const double> advantages,
                                               std::span<const std::int64_t> groups) {
  if (groups.size() != advantages.size()) {
    throw shape_error(detail::message("dead_group_samples: groups has ", groups.size(),
                                      " entries, advantages has ", advantages.size()));
  }
  std::vector<index_t> found, order(groups.size());
  detail::by_group(groups, order, [&](const auto& place) {
    detail::for_each_group(groups, place, [&](std::size_t first, std::size_t last) {
      for (std::size_t i = first; i < last; ++i) {
        if (advantages[place(i)] != 0) return;
      }
      for (std::size_t i = first; i < last; ++i) found.push_back(static_cast<index_t>(place(i)));
    });
  });
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace tempflow
