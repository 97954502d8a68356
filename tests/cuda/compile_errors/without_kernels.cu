// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: tempflow: no kernel of this operation for this backend is included

#include <tempflow/cuda/cuda_device.hpp>
#include <tempflow/ops/ema_update.hpp>

#ifndef BREAK
#include <tempflow/cuda.cuh>
#endif

void update(const tempflow::cuda_backend& gpu, std::span<float> average) {
  tempflow::ema_update(gpu, average, average, 0.5);
}
