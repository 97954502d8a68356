// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Every operation on devices: what a program with a device of its own includes. cuda.hpp does it for CUDA.

// IWYU pragma: begin_exports
#include "tempflow/device/device_backend.hpp"
#include "tempflow/device/kernels/copy_rows.hpp"
#include "tempflow/device/kernels/ema_update.hpp"
#include "tempflow/device/kernels/group_advantages.hpp"
#include "tempflow/device/kernels/guidance.hpp"
#include "tempflow/device/kernels/log_prob.hpp"
#include "tempflow/device/kernels/policy_loss.hpp"
#include "tempflow/device/kernels/put_back.hpp"
#include "tempflow/device/kernels/row_loss.hpp"
#include "tempflow/device/kernels/step.hpp"
#include "tempflow/device/kernels/summarize.hpp"
// IWYU pragma: end_exports
