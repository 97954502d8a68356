// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Group-relative advantages on a device, for rewards that were computed there: no way to the host and back.
// Samples are ranked by group, each by comparing with all, then each sums up its group in the host's order.

#include <cstdint>
#include <initializer_list>
#include <span>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/advantage/weighted_reward.hpp"
#include "tempflow/backend/cuda/device_call.hpp"
#include "tempflow/ops/checks.hpp"

namespace tempflow {
namespace detail {

/// Where a sample's group begins among all samples in the order of their groups, and how many it has.
struct group_range {
  index_t first;
  index_t size;
};

/// A thread a sample.
struct rank_kernel {
  static constexpr int most_warps = 4;
  static constexpr int least_blocks = 2;

  const std::int64_t* groups;
  index_t count;
  index_t* order;
  group_range* ranges;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& here) const {
    const index_t i = (here.block() * most_warps + here.warp()) * warp_lanes + here.lane();
    if (i >= count) return;
    const std::int64_t mine = groups[i];
    index_t below = 0, siblings = 0, before = 0;
    for (index_t j = 0; j < count; ++j) {
      const std::int64_t other = groups[j];
      below += other < mine ? 1 : 0;
      siblings += other == mine ? 1 : 0;
      before += other == mine && j < i ? 1 : 0;
    }
    order[below + before] = i;
    ranges[i] = {below, siblings};
  }
};

/// Rewards of a sample, and their weights.
struct reward_terms {
  static constexpr int most = 16;

  const double* values[most];
  double weights[most];
  int count;

  /// R = sum_k w_k R_k.
  TEMPFLOW_HD double operator()(index_t i) const {
    if (count == 1 && weights[0] == 1) return values[0][i];
    double total = 0;
    for (int k = 0; k < count; ++k) total += weights[k] * values[k][i];
    return total;
  }
};

/// A thread a sample.
struct group_advantage_kernel {
  static constexpr int most_warps = 4;
  static constexpr int least_blocks = 2;

  reward_terms rewards;
  index_t count;
  const index_t* order;
  const group_range* ranges;
  advantage_options options;
  double* advantages;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& here) const {
    const index_t i = (here.block() * most_warps + here.warp()) * warp_lanes + here.lane();
    if (i >= count) return;
    const group_range mine = ranges[i];
    const auto siblings = moments(
        static_cast<std::size_t>(mine.size),
        [&](std::size_t k) { return rewards(order[mine.first + static_cast<index_t>(k)]); }, options.std);
    double global_std = 0;
    if (options.scale == advantage_scale::global_std) {
      global_std = moments(
                       static_cast<std::size_t>(count),
                       [&](std::size_t k) { return rewards(static_cast<index_t>(k)); }, options.std)
                       .std;
    }
    advantages[i] = advantage_of(rewards(i), siblings, advantage_divisor(options, siblings.std, global_std));
  }
};

}  // namespace detail

/// Writes the advantage of each sample relative to its group, for the weighted sum of up to 16 rewards.
///
/// rewards[k].values, groups, advantages: one entry a sample, in device or host memory; advantages in host
/// memory are waited for. The work grows with the square of the samples (65,536 are some milliseconds).
///
/// Throws shape_error for sizes that differ, more than 16 rewards, or advantages that share memory with them, group_error for no samples, value_error
/// for a weight or an epsilon that makes no sense. Rewards in device memory are not checked: one that is not
/// finite makes its group's advantages NaN, and policy_loss leaves those rows out and counts them. Samples that
/// are all alone in their groups, which the host's function refuses, get 0.
template <class Device>
void group_advantages(const device_backend<Device>& place, std::span<const weighted_reward> rewards,
                      std::span<const std::int64_t> groups, const advantage_options& options,
                      std::span<double> advantages) {
  constexpr int threads = detail::rank_kernel::most_warps * warp_lanes;
  const std::size_t samples = groups.size();
  if (rewards.empty() || rewards.size() > detail::reward_terms::most) {
    throw shape_error(detail::message("group_advantages: ", rewards.size(), " rewards, must be 1 to ",
                                      detail::reward_terms::most));
  }
  if (samples == 0) throw group_error("group_advantages: no samples");
  detail::check_advantage_options(options);
  const auto check_size = [&](const char* name, std::size_t size) {
    if (size != samples) {
      throw shape_error(
          detail::message("group_advantages: ", name, " has ", size, " entries, groups has ", samples));
    }
  };
  check_size("advantages", advantages.size());
  for (const auto& [values, weight] : rewards) {
    check_size("rewards", values.size());
    const auto view = [&](const double* from) {
      return batch_view<const double>(from, 1, static_cast<index_t>(samples));
    };
    if (detail::overlap(view(values.data()), view(advantages.data()))) {
      throw shape_error("group_advantages: advantages shares memory with a reward");
    }
    if (!is_finite(weight)) throw value_error(detail::message("group_advantages: weight = ", weight));
    for (std::size_t i = 0; place.host_reads(values.data()) && i < samples; ++i) {
      if (!is_finite(values[i])) {
        throw value_error(detail::message("group_advantages: reward of sample ", i, " = ", values[i]));
      }
    }
  }

  const auto count = static_cast<index_t>(samples);
  const launch_shape shape{.blocks = (count - 1) / threads + 1, .warps = detail::rank_kernel::most_warps};
  detail::device_call call(place, "group_advantages");
  detail::reward_terms terms{};
  for (const auto& [values, weight] : rewards) {
    terms.values[terms.count] = call.on_device(values.data(), count);
    terms.weights[terms.count++] = weight;
  }
  double* const result = call.output("advantages", advantages);
  auto* const order = call.template take<index_t>(count);
  auto* const ranges = call.template take<detail::group_range>(count);
  call.launch(detail::rank_kernel{call.on_device(groups.data(), count), count, order, ranges}, shape);
  call.launch(detail::group_advantage_kernel{terms, count, order, ranges, options, result}, shape);
  call.finish();
}

/// As above, for one reward.
template <class Device>
void group_advantages(const device_backend<Device>& place, std::span<const double> rewards,
                      std::span<const std::int64_t> groups, const advantage_options& options,
                      std::span<double> advantages) {
  const weighted_reward one{.values = rewards};
  group_advantages(place, std::span<const weighted_reward>(&one, 1), groups, options, advantages);
}

}  // namespace tempflow
