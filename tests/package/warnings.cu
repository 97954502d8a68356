// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// As warnings.cpp, for nvcc and its host compiler: the umbrella, the kernels, and losses on a device and on the host.

#include <tempflow/compiled.hpp>
#include <tempflow/cuda.cuh>

namespace tempflow::detail {

TEMPFLOW_INSTANTIATE_LOSS_ON(template, cuda_backend, float, float, float);
TEMPFLOW_INSTANTIATE_HOST_LOSS_ON(template, cpu_backend, float, float, float);

}  // namespace tempflow::detail
