// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cublas_v2.h>

#include <stdexcept>
#include <string>

#include "gemm.hpp"

namespace fashion {

/// Products in fp32, without Tensor Cores' shorter formats, on a stream that must outlive it.
///
/// Each call has the bits of the same call before. A row's bits, though, may depend on how many rows per call
/// has.
class cublas_gemm {
 public:
  explicit cublas_gemm(cudaStream_t stream) {
    check(cublasCreate(&handle_), "cublasCreate");
    check(cublasSetStream(handle_, stream), "cublasSetStream");
    check(cublasSetMathMode(handle_, CUBLAS_PEDANTIC_MATH), "cublasSetMathMode");
  }
  cublas_gemm(const cublas_gemm&) = delete;
  cublas_gemm& operator=(const cublas_gemm&) = delete;
  ~cublas_gemm() { cublasDestroy(handle_); }

  void operator()(const factor& a, const factor& b, float keep, tempflow::batch_view<float> c) const {
    // cuBLAS counts along columns: to it each matrix is its transpose, and c' = b' a'.
    const float one = 1;
    const auto of = [](const factor& f) { return f.is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
    const auto size = [](tempflow::index_t count) { return static_cast<int>(count); };
    check(cublasSgemm(handle_, of(b), of(a), size(c.columns()), size(c.rows()), size(a.columns()), &one,
                      b.matrix.data(), size(b.matrix.row_stride()), a.matrix.data(),
                      size(a.matrix.row_stride()), &keep, c.data(), size(c.row_stride())),
          "cublasSgemm");
  }

 private:
  static void check(cublasStatus_t status, const char* call) {
    if (status != CUBLAS_STATUS_SUCCESS)
      throw std::runtime_error(std::string(call) + ": " + cublasGetStatusString(status));
  }

  cublasHandle_t handle_ = nullptr;
};

static_assert(gemm<cublas_gemm>);

}  // namespace fashion
