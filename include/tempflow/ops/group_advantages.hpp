// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Group-relative advantages on a backend, for rewards that lie where it computes: the same call for a host
// and a device. A host that wants statistics too calls advantage/group_advantages.hpp.
//
// Traffic: some numbers per sample, read a few times; bound by latency.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/advantage/weighted_reward.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/group_advantages.hpp"

namespace tempflow {

/// Most rewards of a weighted sum on a backend.
inline constexpr index_t max_rewards = 16;

/// Writes the advantage of each sample relative to its group, for the weighted sum of up to max_rewards rewards.
///
/// rewards[k].values, groups, advantages: one entry per sample, on a device in device or host memory; advantages in
/// host memory are waited for. Bits are the same on all backends.
///
/// Throws shape_error for sizes that differ, too many rewards, or advantages that share memory with them, group_error
/// for no samples, a group of another size than options.group_size or, with groups in host memory, of one sample
/// where the others' mean is the baseline, value_error for a reward, weight or option that makes no sense,
/// memory_error for a group size with groups in device memory, where the host cannot count. Rewards in device memory
/// are not checked: one that is not finite is excluded if these are, else it makes its group's advantages NaN (all,
/// over the global std), and policy_loss leaves those rows out and counts them. An excluded sample gets 0 (it is one
/// whose weighted sum is not finite); so do samples that are all alone in their groups.
template <backend B>
TEMPFLOW_HIDDEN void group_advantages(const B& backend, std::span<const weighted_reward> rewards,
                                      std::span<const std::int64_t> groups, const advantage_options& options,
                                      std::span<double> advantages) {
  if (rewards.empty() || static_cast<index_t>(rewards.size()) > max_rewards) {
    throw shape_error(
        detail::message("group_advantages: ", rewards.size(), " rewards, must be 1 to ", max_rewards));
  }
  if (groups.empty()) throw group_error("group_advantages: no samples");
  detail::check_advantage_options(options);
  const auto samples = static_cast<index_t>(groups.size());
  detail::check_size("group_advantages", "advantages", advantages.size(), samples);
  const detail::operation_arguments arguments(backend);
  const auto row = [samples](auto* numbers) { return batch_view(numbers, 1, samples); };
  for (std::size_t k = 0; k < rewards.size(); ++k) {
    const auto& [values, weight] = rewards[k];
    detail::check_size("group_advantages", "rewards", values.size(), samples);
    if (detail::overlap(row(values.data()), row(advantages.data()))) {
      throw shape_error(detail::message("group_advantages: advantages shares memory with reward ", k));
    }
    if (!is_finite(weight)) {
      throw value_error(detail::message("group_advantages: weight of reward ", k, " = ", weight));
    }
    if (options.not_finite == not_finite_rewards::exclude || !arguments.host_reads(values.data())) continue;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!is_finite(values[i])) {
        const auto group =
            arguments.host_reads(groups.data()) ? detail::message(" (group ", groups[i], ")") : std::string();
        throw value_error(
            detail::message("group_advantages: reward ", k, " of sample ", i, group, " = ", values[i]));
      }
    }
  }
  const bool others = options.baseline == advantage_baseline::others_mean;
  if (options.group_size != 0) {
    arguments.check_host_reads("group_advantages with a group_size", "groups", groups.data());
  }
  if (options.group_size != 0 || (others && arguments.host_reads(groups.data()))) {
    std::vector<index_t> order(groups.size());
    detail::by_group(groups, order,
                     [&](const auto& place) { detail::sizes_of_groups(groups, place, options); });
  }
  detail::execute(arguments, detail::group_advantages_op{rewards, groups, options, advantages});
}

/// As above, for one reward.
template <backend B>
TEMPFLOW_HIDDEN void group_advantages(const B& backend, std::span<const double> rewards,
                                      std::span<const std::int64_t> groups, const advantage_options& options,
                                      std::span<double> advantages) {
  const weighted_reward one{.values = rewards};
  group_advantages(backend, std::span<const weighted_reward>(&one, 1), groups, options, advantages);
}

}  // namespace tempflow
