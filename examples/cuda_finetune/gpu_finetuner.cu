// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
// All device code of the program.
#include <tempflow/cuda.cuh>

#include "cublas_gemm.hpp"
#include "finetuner.inl.hpp"

namespace fashion {

template class finetuner<tempflow::cuda_device, cublas_gemm>;

}  // namespace fashion
