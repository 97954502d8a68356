// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A shared library that runs operations on a device, for hidden.py: what it exports is this function, and no operation
// that another library of the program could be given in place of its own.

#include "tempflow/cuda.cuh"

void advance(cudaStream_t stream, tempflow::batch_view<const float> x, tempflow::batch_view<const float> v,
             const tempflow::transition& step, tempflow::batch_view<float> y) {
  const tempflow::cuda_backend gpu{stream};
  tempflow::ode_step(gpu, x, v, step, y);
  tempflow::copy_rows(gpu, x, y);
}
