// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The CUDA backend for programs without CUDA source of their own: stream, memory, errors, and the
// declarations of all operations. What they call must be linked from code that includes tempflow/cuda.cuh.
//
// Kernels, their launchers and the operations that lead to them are hidden: a .cpp file links those of its own
// program or shared library, from an object or a static library, and a shared library exports functions of its
// own that call them. So two that were built for other GPUs, or with other versions of this library, do not get
// into each other's way.

#include "tempflow/cuda/cuda_device.hpp"
#include "tempflow/cuda/cuda_error.hpp"
#include "tempflow/device/kernels.hpp"
#include "tempflow/tempflow.hpp"
