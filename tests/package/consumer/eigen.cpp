// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include <Eigen/Core>

#include <tempflow/interop/eigen.hpp>

int main() {
  Eigen::MatrixXf samples(2, 3);  // three samples of two elements
  const auto batch = tempflow::batch_view_of(samples);
  return batch.rows() == 3 && batch.columns() == 2 ? 0 : 1;
}
