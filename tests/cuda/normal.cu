// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The noise of a CUDA device, where its instructions differ from plain C++: for every word there is.

#include "tempflow/core/normal.hpp"

#include <cuda_runtime.h>

#include <cstdint>

#include "support/catch.hpp"
#include "tempflow/cuda/cuda_error.hpp"

using namespace tempflow::detail;

// Philox can be evaluated while compiling, for a device too.
static_assert(tempflow::philox4x32({{0, 0, 0, 0}}, {{0, 0}}).word[0] == 0x6627e8d5);

namespace {

struct counts {
  unsigned long long words, roots, halves;  // looked at, and wrong
};

// Words that differ in their last bit alone have the same radius.
__global__ void compare(counts* found) {
  counts mine{};
  const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < std::uint64_t{1} << 31;
       i += threads) {
    const auto word = static_cast<std::uint32_t>(i << 1);
    const float square = squared_half_radius(word);
    ++mine.words;
    mine.roots += as_word(square_root(square)) == as_word(__fsqrt_rn(square)) ? 0 : 1;
    mine.halves += odd_half_to_float(word) == __int2float_rn(static_cast<int>((word >> 1) | 1u)) ? 0 : 1;
  }
  atomicAdd(&found->words, mine.words);
  atomicAdd(&found->roots, mine.roots);
  atomicAdd(&found->halves, mine.halves);
}

}  // namespace

TEST_CASE("a GPU's square roots and floats of the noise are rounded to nearest for every word", "[cuda]") {
  counts* found = nullptr;
  tempflow::check_cuda(cudaMallocManaged(&found, sizeof *found), "cudaMallocManaged");
  *found = {};
  compare<<<1024, 256>>>(found);
  tempflow::check_cuda(cudaGetLastError(), "compare");
  tempflow::check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  CHECK(found->words == 1ull << 31);
  CHECK(found->roots == 0);
  CHECK(found->halves == 0);
  tempflow::check_cuda(cudaFree(found), "cudaFree");
}
