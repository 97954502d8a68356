// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: tempflow: an objective is copied to the device byte by byte: it must be trivially copyable

#include <tempflow/cuda.cuh>
#include <vector>

namespace tf = tempflow;

struct of_table : tf::clipped_grpo {
#ifdef BREAK
  std::vector<double> table;  // the device would look for its elements in host memory
#else
  double table[4];
#endif

  TEMPFLOW_HD tf::surrogate operator()(double log_ratio, double advantage, double) const {
    return {.loss = -table[0] * advantage * log_ratio, .slope = -table[1] * advantage};
  }
};

void loss(const tf::cuda_backend& gpu, const tf::policy_batch<float>& batch, tf::batch_view<float> v,
          std::span<tf::policy_row> rows) {
  tf::policy_loss_rows(gpu, batch, v, {}, of_table{}, v, rows);
}
