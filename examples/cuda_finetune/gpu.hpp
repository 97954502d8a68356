// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <tempflow/cuda.hpp>

#include "cublas_gemm.hpp"
#include "finetuner.hpp"

namespace fashion {

/// The first CUDA device, and a stream of its own.
class gpu {
 public:
  /// Throws std::runtime_error, in words, when there is none.
  gpu();
  gpu(const gpu&) = delete;
  gpu& operator=(const gpu&) = delete;
  ~gpu() { cudaStreamDestroy(stream_); }

  cudaStream_t stream() const { return stream_; }
  const char* name() const { return properties_.name; }

 private:
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr;
};

using gpu_finetuner = finetuner<tempflow::cuda_device, cublas_gemm>;

extern template class finetuner<tempflow::cuda_device, cublas_gemm>;  // in gpu_finetuner.cu

}  // namespace fashion
