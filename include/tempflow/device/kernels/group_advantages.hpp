// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Group-relative advantages on a device, for rewards that were computed there: no way to the host and back.
// Samples are ranked by group, each by comparing with all, then each sums up its group in the host's order.

#include <cstdint>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/device/device_call.hpp"
#include "tempflow/ops/group_advantages.hpp"

namespace tempflow::detail {

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
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const index_t i = (thread.block() * most_warps + thread.warp()) * warp_lanes + thread.lane();
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
  static constexpr int most = static_cast<int>(most_rewards);

  const double* values[most];
  double weights[most];
  int count;

  /// R = sum_k w_k R_k.
  TEMPFLOW_HD double operator()(index_t i) const {
    if (count == 1 && weights[0] == 1) return values[0][i];
    double total = 0;
    for (int k = 0; k < count; ++k) total = fused_multiply_add(weights[k], values[k][i], total);
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
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const index_t i = (thread.block() * most_warps + thread.warp()) * warp_lanes + thread.lane();
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

template <class Device>
void run(const device_backend<Device>& backend, const group_advantages_op& op) {
  constexpr int threads = rank_kernel::most_warps * warp_lanes;
  const auto count = static_cast<index_t>(op.groups.size());
  const launch_shape shape{.blocks = (count - 1) / threads + 1, .warps = rank_kernel::most_warps};
  device_call call(backend, "group_advantages");
  reward_terms terms{};
  for (const auto& [values, weight] : op.rewards) {
    terms.values[terms.count] = call.on_device(values.data(), count);
    terms.weights[terms.count++] = weight;
  }
  double* const result = call.output("advantages", op.advantages);
  auto* const order = call.template take<index_t>(count);
  auto* const ranges = call.template take<group_range>(count);
  call.launch(rank_kernel{call.on_device(op.groups.data(), count), count, order, ranges}, shape);
  call.launch(group_advantage_kernel{terms, count, order, ranges, op.options, result}, shape);
  call.finish();
}

}  // namespace tempflow::detail
