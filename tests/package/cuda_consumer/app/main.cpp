// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Agrees with a CUDA unit on every definition, and calls operations of a GPU from a C++ source: through a library, and directly,
// with the library's kernels.

#include <cstdio>
#include <scorer.hpp>
#include <vector>

namespace tf = tempflow;

int main() {
  if (layout_of_cuda_unit() != cuda_layout{} || layout_elsewhere() != layout_here()) {
    std::printf("the CUDA unit and the two of C++ have more than one definition\n");
    return 1;
  }
  int devices = 0;
  if (const cudaError_t found = cudaGetDeviceCount(&devices); found != cudaSuccess || devices == 0) {
    std::printf("linked; not run: no CUDA device (%s)\n", cudaGetErrorString(found));
    return 0;
  }
  const tf::cuda_backend gpu{cudaStreamLegacy};
  const auto x = gpu.make_zeros<float>(2, 1000), v = gpu.make_zeros<float>(2, 1000),
             y = gpu.make_zeros<float>(2, 1000);
  const tf::transition step{.beta = -0.1, .std = 0.5};
  std::vector<double> through(2), directly(2);
  score(gpu, x, v, y, step, through);
  tf::log_prob(gpu, x.view(), v, y, step, directly);
  std::printf("log-probs %g and %g\n", through[0], directly[0]);
  return through == directly ? 0 : 1;
}
