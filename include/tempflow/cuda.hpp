// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The CUDA backend for programs without CUDA source of their own: stream, memory, errors, and the declarations
// of all operations. What they call must be linked from code that includes tempflow/cuda.cuh.

#include "tempflow/backend/cuda/cuda_device.hpp"
#include "tempflow/backend/cuda/cuda_error.hpp"
#include "tempflow/backend/cuda/device_backend.hpp"
#include "tempflow/ops/cuda/copy_rows.hpp"
#include "tempflow/ops/cuda/group_advantages.hpp"
#include "tempflow/ops/cuda/log_prob.hpp"
#include "tempflow/ops/cuda/policy_loss.hpp"
#include "tempflow/ops/cuda/step.hpp"
#include "tempflow/tempflow.hpp"
#include "tempflow/training/cuda/ema.hpp"
