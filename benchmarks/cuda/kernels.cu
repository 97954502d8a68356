// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The benchmark's own kernels.

#include <cstdint>

#include "timer.hpp"

namespace bench {
namespace {

constexpr int threads = 256, unroll = 4;

__global__ void __launch_bounds__(threads) copy_kernel(uint4* to, const uint4* from, std::size_t count) {
  const std::size_t first = std::size_t{blockIdx.x} * (threads * unroll) + threadIdx.x;
  uint4 held[unroll];
#pragma unroll
  for (int k = 0; k < unroll; ++k) {
    if (first + k * threads < count) held[k] = from[first + k * threads];
  }
#pragma unroll
  for (int k = 0; k < unroll; ++k) {
    if (first + k * threads < count) to[first + k * threads] = held[k];
  }
}

__global__ void write_kernel(float* memory, std::size_t count) {
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    memory[i] = static_cast<float>(i & 0xffff);
}

/// All numbers are positive, so nothing is written; compilers do not know it.
__global__ void read_kernel(float* memory, std::size_t count) {
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x;
  float sum = 0;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    sum += memory[i];
  if (sum < 0) memory[0] = sum;
}

__global__ void wait_kernel(std::uint64_t nanoseconds) {
  std::uint64_t start, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - start < nanoseconds);
}

void check_launch(const char* what) { tempflow::check_cuda(cudaGetLastError(), what); }

}  // namespace

void copy_by_kernel(cudaStream_t stream, void* to, const void* from, std::size_t bytes) {
  const std::size_t count = bytes / sizeof(uint4);
  const auto blocks = static_cast<unsigned>((count + threads * unroll - 1) / (threads * unroll));
  if (blocks == 0) return;
  copy_kernel<<<blocks, threads, 0, stream>>>(static_cast<uint4*>(to), static_cast<const uint4*>(from),
                                              count);
  check_launch("copy_kernel");
}

void write_and_read(cudaStream_t stream, float* memory, std::size_t count) {
  write_kernel<<<1024, threads, 0, stream>>>(memory, count);
  read_kernel<<<1024, threads, 0, stream>>>(memory, count);
  check_launch("write_and_read");
}

void wait(cudaStream_t stream, double microseconds) {
  wait_kernel<<<1, 1, 0, stream>>>(static_cast<std::uint64_t>(1000 * microseconds));
  check_launch("wait_kernel");
}

}  // namespace bench
