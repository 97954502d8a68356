// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The CUDA backend for programs without CUDA source of their own: stream, memory, errors, and the declarations
// of all operations. What they call must be linked from code that includes tempflow/cuda.cuh.

#include "tempflow/cuda/cuda_device.hpp"
#include "tempflow/cuda/cuda_error.hpp"
#include "tempflow/device/kernels.hpp"
#include "tempflow/tempflow.hpp"
