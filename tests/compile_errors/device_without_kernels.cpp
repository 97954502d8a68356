// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: tempflow: no kernel of this operation for this backend is included

#include <support/emulated_device.hpp>
#include <tempflow/ops/ema_update.hpp>

#ifndef BREAK
#include <tempflow/device/kernels.hpp>
#endif

void update(const support::emulated_backend& device, std::span<float> average) {
  tempflow::ema_update(device, average, average, 0.5);
}
