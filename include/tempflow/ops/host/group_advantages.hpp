// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// group_advantages on host backends.

#include <vector>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

template <host_backend B>
void run(const operation_arguments<B>&, const group_advantages_op& op) {
  const bool one = op.rewards.size() == 1 && op.rewards[0].weight == 1;
  const std::vector<double> sum =
      one ? std::vector<double>() : weighted_sum(op.rewards, op.options.not_finite);
  std::vector<index_t> scratch(op.groups.size());
  write_group_advantages(one ? op.rewards[0].values : sum, op.groups, op.options, op.advantages, scratch,
                         lone_samples::zero);
}

}  // namespace tempflow::detail
