// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The kernel of docs/backends.md, which shows what log_prob amounts to, against the library's.

#include <cuda_runtime.h>

#include <numbers>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "support/test_device.hpp"

using support::placed;
using tempflow::index_t;

namespace {

__global__ void log_prob(const float* x, const float* v, const float* y, const tempflow::transition* steps,
                         double* log_probs, int D) {
  __shared__ double tile_sums[32];
  const int row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const float alpha = steps[row].alpha, beta = steps[row].beta;
  const double std = steps[row].std;
  double sum = 0;
  for (int tile = warp; tile < D / 1024; tile += 32) {
    float partial = 0;
    for (int e = tile * 1024 + lane; e < (tile + 1) * 1024; e += 32) {
      const std::size_t at = std::size_t(row) * D + e;
      const float r = fmaf(-beta, v[at], fmaf(-alpha, x[at], y[at]));
      partial = fmaf(r, r, partial);
    }
    for (int half = 16; half > 0; half /= 2) partial += __shfl_xor_sync(~0u, partial, half);
    sum += partial;  // fp32 within a tile, double across tiles
  }
  if (lane == 0) tile_sums[warp] = sum;
  __syncthreads();
  if (warp > 0) return;
  sum = tile_sums[lane];
  for (int half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(~0u, sum, half);
  if (lane == 0) log_probs[row] = -sum / (2 * std * std * D) - log(std) - 0.5 * log(2 * std::numbers::pi);
}

}  // namespace

TEST_CASE("the plain kernel of the documentation gives the library's log-probs", "[cuda]") {
  constexpr index_t rows = 3, columns = 40 * 1024;
  const auto gpu = support::make_test_device();
  using backend = tempflow::cuda_backend;
  placed<float, backend> x(gpu, support::random_batch<float>(rows, columns, 1)),
      v(gpu, support::random_batch<float>(rows, columns, 2)),
      y(gpu, support::random_batch<float>(rows, columns, 3));
  const auto steps = support::mixed_transitions(rows);
  std::vector<double> expected(rows);
  tempflow::log_prob(gpu, x.view(), v, y, steps, expected);

  tempflow::transition* steps_there = nullptr;
  support::placed_numbers<backend> found(gpu, rows);
  tempflow::check_cuda(cudaMalloc(&steps_there, rows * sizeof *steps_there), "cudaMalloc");
  tempflow::check_cuda(
      cudaMemcpy(steps_there, steps.data(), rows * sizeof *steps_there, cudaMemcpyHostToDevice),
      "cudaMemcpy");
  log_prob<<<rows, 1024, 0, gpu.device().stream()>>>(x.view().data(), v.view().data(), y.view().data(),
                                                     steps_there, found.span().data(),
                                                     static_cast<int>(columns));
  tempflow::check_cuda(cudaGetLastError(), "log_prob<<<>>>");
  const auto values = found.values();
  for (std::size_t i = 0; i < rows; ++i) CHECK(values[i] == Catch::Approx(expected[i]).epsilon(1e-14));
  tempflow::check_cuda(cudaFree(steps_there), "cudaFree");
}
