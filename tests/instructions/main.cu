// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The CPU's kernels in a CUDA source.

#include "main.cpp"
