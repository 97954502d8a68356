// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: calling a __host__ function\(".*host_or_device::operator \(\)

#include <tempflow/cuda.cuh>

namespace tf = tempflow;

#ifdef BREAK
#define MARK
#else
#define MARK TEMPFLOW_HD
#endif

// An objective that devices do not know must not be left out of their kernels.
struct host_or_device : tf::clipped_grpo {
  MARK tf::surrogate operator()(double log_ratio, double advantage, double weight) const {
    return {.loss = -weight * advantage * log_ratio, .slope = -weight * advantage};
  }
};

void loss(const tf::cuda_backend& gpu, const tf::policy_batch<float>& batch, tf::batch_view<float> v,
          std::span<tf::policy_row> rows) {
  tf::policy_loss_rows(gpu, batch, v, {}, host_or_device{}, v, rows);
}
