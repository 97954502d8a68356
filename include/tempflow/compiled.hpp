// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The operations of the host backends for all storage types, compiled once in the library tempflow::ops: a
// source that includes this header instantiates none of them, and compiles in a fraction of the time.
// Optional; bits and speed are those of the headers.
//
//   #include <tempflow/compiled.hpp>                     // and link tempflow::ops
//
// Without CMake, one source of the program has, in namespace tempflow::detail, the four lines at the end of
// this header with `template` for `extern template`.

#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/tempflow.hpp"

#define TEMPFLOW_INSTANTIATE_OPS_ON(KEYWORDS, B, T)                           \
  KEYWORDS void run(const operation_arguments<B>&, const step_op<T>&);        \
  KEYWORDS void run(const operation_arguments<B>&, const ode_step_op<T>&);    \
  KEYWORDS void run(const operation_arguments<B>&, const branch_step_op<T>&); \
  KEYWORDS void run(const operation_arguments<B>&, const fill_noise_op<T>&);  \
  KEYWORDS void run(const operation_arguments<B>&, const log_prob_op<T>&);    \
  KEYWORDS void run(const operation_arguments<B>&, const ema_update_op<T>&);  \
  KEYWORDS void run(const operation_arguments<B>&, const policy_loss_op<T, T, clipped_grpo>&)

#define TEMPFLOW_INSTANTIATE_GRADIENT(KEYWORDS, B, T, G) \
  KEYWORDS void run(const operation_arguments<B>&, const policy_loss_op<T, G, clipped_grpo>&)

/// All operations on rows of T. KEYWORDS: `extern template` to declare, `template` to define.
#define TEMPFLOW_INSTANTIATE_OPS(KEYWORDS, T)                  \
  TEMPFLOW_INSTANTIATE_OPS_ON(KEYWORDS, reference_backend, T); \
  TEMPFLOW_INSTANTIATE_OPS_ON(KEYWORDS, cpu_backend, T)

/// The same, with gradients in fp32 too. T: not float.
#define TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT(KEYWORDS, T)         \
  TEMPFLOW_INSTANTIATE_OPS(KEYWORDS, T);                                \
  TEMPFLOW_INSTANTIATE_GRADIENT(KEYWORDS, reference_backend, T, float); \
  TEMPFLOW_INSTANTIATE_GRADIENT(KEYWORDS, cpu_backend, T, float)

namespace tempflow::detail {

TEMPFLOW_INSTANTIATE_OPS(extern template, float);
TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT(extern template, double);
TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT(extern template, bfloat16);
TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT(extern template, float16);

}  // namespace tempflow::detail
