// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// summarize on a device: one warp, whose lanes add up every 32nd row, as the host's do.

#include "tempflow/device/device_call.hpp"
#include "tempflow/ops/summarize.hpp"

namespace tempflow::detail {

struct summarize_kernel {
  static constexpr int max_warps = 1;
  static constexpr int min_blocks = 1;

  const policy_row* rows;
  index_t count;
  double kl_beta, mean_over;
  policy_statistics* total;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    static_assert(summary_sums::lanes == warp_lanes);
    summary_sums mine;
    for (index_t i = thread.lane(); i < count; i += warp_lanes) mine.add(rows[i], kl_beta);
    for (int half = warp_lanes / 2; half > 0; half /= 2) {
      const summary_sums before = mine;
      mine.join([&](double summary_sums::*sum) { return thread.shuffle_xor(before.*sum, half); });
    }
    if (thread.lane() == 0) *total = mine.summary(mean_over);
  }
};

template <class Device>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const summarize_op& op) {
  device_call call(arguments, "summarize");
  if (!op.rows.empty() && arguments.memory_of(op.rows.data()) == memory_kind::host) {
    throw memory_error(
        "summarize: rows lie in host memory, which the device does not reach; without a backend "
        "the host summarizes them");
  }
  call.launch(summarize_kernel{.rows = op.rows.data(),
                               .count = static_cast<index_t>(op.rows.size()),
                               .kl_beta = op.kl_beta,
                               .mean_over = op.mean_over,
                               .total = call.output("total", op.total)},
              {.blocks = 1});
  call.finish();
}

}  // namespace tempflow::detail
