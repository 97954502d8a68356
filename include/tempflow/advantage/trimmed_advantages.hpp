// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Group advantages whose baseline and std ignore each group's lowest rewards, the samples that went wrong:
//
//   A_i = (R_i - mean_k R) / (std_k R + eps)     over what is kept of the group, k; for all its samples, i
//
// Source: MixGRPO, arXiv 2507.21802 (trimmed_ratio).

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// Advantages against the mean and std of each group without its lowest floor(n trim) of n finite rewards. A group
/// whose kept rewards are equal teaches nothing: advantages of 0. In the statistics stds and zero_std_groups are of
/// what is kept, singletons are groups that keep one reward.
///
/// Throws as group_advantages does, and value_error for a trim outside [0, 1), a global std and a baseline of the
/// others: neither says what to leave out.
inline advantage_set trimmed_advantages(std::span<const double> rewards, std::span<const std::int64_t> groups,
                                        double trim, const advantage_options& options = {}) {
  if (!is_finite(trim) || trim < 0 || trim >= 1) {
    throw value_error(detail::message("trimmed_advantages: trim = ", trim, ", must be in [0, 1)"));
  }
  if (options.scale == advantage_scale::global_std || options.baseline == advantage_baseline::others_mean) {
    throw value_error("trimmed_advantages: global_std and others_mean are not of a trimmed group");
  }
  detail::check_per_reward("trimmed_advantages", "groups", groups.size(), rewards.size());
  if (rewards.empty()) throw group_error("trimmed_advantages: no samples");
  detail::check_advantage_options(options);
  detail::check_rewards("trimmed_advantages", rewards, groups, options.not_finite);
  std::vector<double> sorted;
  const auto moments_of_kept = [&](std::int64_t, std::size_t count, const auto& reward) {
    sorted.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if (is_finite(reward(i))) sorted.push_back(reward(i));
    }
    std::sort(sorted.begin(), sorted.end());
    const auto dropped = static_cast<std::size_t>(static_cast<double>(sorted.size()) * trim);
    return detail::moments(
        sorted.size() - dropped, [&](std::size_t i) { return sorted[dropped + i]; }, options);
  };
  advantage_set result;
  result.values.resize(rewards.size());
  std::vector<index_t> scratch(rewards.size());
  result.statistics = detail::write_group_advantages(rewards, groups, options, result.values, scratch,
                                                     detail::lone_samples::refused, moments_of_kept);
  result.excluded = detail::excluded_places(rewards);
  return result;
}

}  // namespace tempflow
