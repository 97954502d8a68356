// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Group-relative advantages on a device, for rewards that were computed there: no way to the host and back.
// Samples are sorted by group; then a thread sums up each group. Sums do not depend on their order (moments.hpp),
// so they have the host's bits.

#include <cstdint>
#include <span>
#include <vector>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/device/device_call.hpp"
#include "tempflow/device/sort_pairs.hpp"
#include "tempflow/ops/group_advantages.hpp"

namespace tempflow::detail {

/// Rewards of a sample, and their weights.
struct reward_terms {
  static constexpr int most = static_cast<int>(max_rewards);

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

/// Samples in their own order, before they are sorted.
struct number_samples {
  index_t* order;

  TEMPFLOW_DEVICE void operator()(index_t i) const { order[i] = i; }
};

/// The rewards of all samples one after another, for a warp: its lanes read 32 at once.
template <class Thread>
struct rewards_in_order {
  const Thread& thread;
  const reward_terms& rewards;
  index_t count;
  mutable double of_lane = 0;

  TEMPFLOW_DEVICE double operator()(std::size_t sample) const {
    const int lane = static_cast<int>(sample % warp_lanes);
    if (lane == 0) {
      const index_t mine = static_cast<index_t>(sample) + thread.lane();
      of_lane = mine < count ? rewards(mine) : 0;
    }
    return thread.shuffle(of_lane, lane);
  }
};

/// The std of all rewards, by one warp.
struct global_std_kernel {
  static constexpr int max_warps = 1;
  static constexpr int min_blocks = 1;

  reward_terms rewards;
  index_t count;
  advantage_options options;
  double* std;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const rewards_in_order<Thread> in_order{thread, rewards, count};
    const reward_moments all = moments(static_cast<std::size_t>(count), in_order, options);
    if (thread.lane() == 0) *std = all.std;
  }
};

/// The advantages of the group that begins at a place in the order of groups, if one does.
struct advantages_of_group {
  reward_terms rewards;
  const std::int64_t* groups;  ///< sorted
  const index_t* order;
  index_t count;
  advantage_options options;
  const double* global_std;  ///< or null
  double* advantages;

  TEMPFLOW_DEVICE void operator()(index_t first) const {
    const std::int64_t mine = groups[first];
    if (first > 0 && groups[first - 1] == mine) return;
    index_t last = first + 1;
    while (last < count && groups[last] == mine) ++last;
    const auto siblings = moments(
        static_cast<std::size_t>(last - first),
        [&](std::size_t k) { return rewards(order[first + static_cast<index_t>(k)]); }, options);
    const double divisor =
        advantage_divisor(options, siblings.std, global_std != nullptr ? *global_std : 0.0);
    for (index_t at = first; at < last; ++at) {
      const index_t i = order[at];
      advantages[i] = advantage_of(options, rewards(i), siblings, divisor);
    }
  }
};

template <sorting_device Device>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const group_advantages_op& op) {
  const auto count = static_cast<index_t>(op.groups.size());
  device_call call(arguments, "group_advantages");
  double* const result = call.output("advantages", op.advantages);

  std::vector host{call.host_table_of(op.groups)};
  for (const auto& reward : op.rewards) host.push_back(call.host_table_of(reward.values));
  call.upload(host);
  reward_terms terms{};
  for (const auto& [values, weight] : op.rewards) {
    terms.values[terms.count] = call.on_device(values);
    terms.weights[terms.count++] = weight;
  }

  auto* const numbers = call.template take<index_t>(count);
  call.launch_for_each(count, number_samples{numbers});
  const sort_request request{.keys = call.on_device(op.groups),
                             .sorted_keys = call.template take<std::int64_t>(count),
                             .values = numbers,
                             .sorted_values = call.template take<index_t>(count),
                             .count = count};
  const std::size_t scratch = sort_scratch_bytes(call.device(), count);
  sort_pairs(call.device(), request,
             std::span(call.template take<std::byte>(static_cast<index_t>(scratch)), scratch));

  double* global_std = nullptr;
  if (op.options.scale == advantage_scale::global_std) {
    global_std = call.template take<double>(1);
    call.launch(global_std_kernel{terms, count, op.options, global_std}, {.blocks = 1});
  }
  call.launch_for_each(count, advantages_of_group{.rewards = terms,
                                                  .groups = request.sorted_keys,
                                                  .order = request.sorted_values,
                                                  .count = count,
                                                  .options = op.options,
                                                  .global_std = global_std,
                                                  .advantages = result});
  call.finish();
}

}  // namespace tempflow::detail
