// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "gpu.hpp"

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace fashion {

gpu::gpu() {
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (found != cudaSuccess || devices == 0) {
    throw std::runtime_error(std::string("no CUDA device: ") + cudaGetErrorString(found) +
                             ". This program needs an NVIDIA GPU and its driver; fashion_mnist does the same "
                             "on the CPU");
  }
  tempflow::check_cuda(cudaSetDevice(0), "cudaSetDevice");
  tempflow::check_cuda(cudaGetDeviceProperties(&properties_, 0), "cudaGetDeviceProperties");
  tempflow::check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                       "cudaStreamCreateWithFlags");
  // Rollouts and minibatches allocate in stream order. Keep what they free: by default it goes back to the
  // system whenever the host waits.
  cudaMemPool_t pool = nullptr;
  tempflow::check_cuda(cudaDeviceGetDefaultMemPool(&pool, 0), "cudaDeviceGetDefaultMemPool");
  auto all = std::numeric_limits<std::uint64_t>::max();
  tempflow::check_cuda(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all),
                       "cudaMemPoolSetAttribute");
}

}  // namespace fashion
