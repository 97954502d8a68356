// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Errors of the CUDA runtime as exceptions.

#include <cuda_runtime_api.h>

#include "tempflow/core/error.hpp"

namespace tempflow {

/// A call of the CUDA runtime that failed: the message has the call, the error's name and text, and where it
/// was made.
class cuda_error : public error {
 public:
  cuda_error(cudaError_t code, const char* call, const char* file, int line)
      : error(detail::message(call, ": ", cudaGetErrorName(code), " (", cudaGetErrorString(code), ") at ",
                              file, ":", line)),
        code_(code) {}

  cudaError_t code() const { return code_; }

 private:
  cudaError_t code_;
};

/// Throws cuda_error unless the call succeeded, and clears the error, so that the next call does not find it:
/// check_cuda(cudaMalloc(&memory, size), "cudaMalloc"). Errors of kernels that ran before may show up here.
inline void check_cuda(cudaError_t code, const char* call, const char* file = __builtin_FILE(),
                       int line = __builtin_LINE()) {
  if (code == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());
  throw cuda_error(code, call, file, line);
}

}  // namespace tempflow
