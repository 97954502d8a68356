// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The kernels that most tests call, which support/kernels_*.cpp compile once for all of them: they are nearly all
// of what a test would take to compile, and each comes in as many versions as there are instruction sets.

#include "tempflow/tempflow.hpp"

#define TEMPFLOW_TEST_KERNELS_ON(prefix, place, arithmetic, T)                                 \
  prefix template void run_rows(const place&, index_t, const fill_noise_row<arithmetic, T>&);  \
  prefix template void run_rows(const place&, index_t, const ode_step_row<arithmetic, T>&);    \
  prefix template void run_rows(const place&, index_t, const step_row<arithmetic, T>&);        \
  prefix template void run_rows(const place&, index_t, const branch_step_row<arithmetic, T>&); \
  prefix template void run_rows(const place&, index_t, const log_prob_row<arithmetic, T>&);

#define TEMPFLOW_TEST_GRADIENTS_ON(prefix, place, arithmetic, T, G) \
  prefix template void run_rows(const place&, index_t,              \
                                const policy_loss_row<arithmetic, T, G, clipped_grpo>&);

// prefix: extern, or nothing where they are compiled. T: a storage type; G: of gradients.
#define TEMPFLOW_TEST_KERNELS(prefix, T)                             \
  TEMPFLOW_TEST_KERNELS_ON(prefix, cpu_backend, tiled_arithmetic, T) \
  TEMPFLOW_TEST_KERNELS_ON(prefix, reference_backend, plain_double_arithmetic, T)
#define TEMPFLOW_TEST_GRADIENTS(prefix, T, G)                             \
  TEMPFLOW_TEST_GRADIENTS_ON(prefix, cpu_backend, tiled_arithmetic, T, G) \
  TEMPFLOW_TEST_GRADIENTS_ON(prefix, reference_backend, plain_double_arithmetic, T, G)

namespace tempflow::detail {

TEMPFLOW_TEST_KERNELS(extern, float)
TEMPFLOW_TEST_KERNELS(extern, double)
TEMPFLOW_TEST_KERNELS(extern, bfloat16)
TEMPFLOW_TEST_KERNELS(extern, float16)
TEMPFLOW_TEST_GRADIENTS(extern, float, float)
TEMPFLOW_TEST_GRADIENTS(extern, double, float)
TEMPFLOW_TEST_GRADIENTS(extern, double, double)
TEMPFLOW_TEST_GRADIENTS(extern, bfloat16, float)
TEMPFLOW_TEST_GRADIENTS(extern, bfloat16, bfloat16)
TEMPFLOW_TEST_GRADIENTS(extern, float16, float)
TEMPFLOW_TEST_GRADIENTS(extern, float16, float16)

}  // namespace tempflow::detail
