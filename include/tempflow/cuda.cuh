// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The CUDA backend for CUDA sources: `tf::cuda_backend gpu{stream};`, and the operations are those of the
// CPU.

#include "tempflow/cuda.hpp"
#include "tempflow/cuda/launch.cuh"
