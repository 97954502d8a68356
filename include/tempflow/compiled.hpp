// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The operations of the host backends, compiled once in the library tempflow::ops: for rows of one storage type, and
// on the cpu backend for fp32 states with 16-bit velocities; their losses by any objective. A source that includes this
// header instantiates none of these, and compiles in a fraction of the time. Optional; bits and speed are those of the
// headers.
//
//   #include <tempflow/compiled.hpp>                     // and link tempflow::ops
//
// Without CMake, one source of the program has, in namespace tempflow::detail, the six lines at the end of
// this header with `template` for `extern template`.

#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/tempflow.hpp"

#define TEMPFLOW_INSTANTIATE_STEPS_ON(KEYWORDS, B, T, V)                         \
  KEYWORDS void run(const operation_arguments<B>&, const step_op<T, V>&);        \
  KEYWORDS void run(const operation_arguments<B>&, const ode_step_op<T, V>&);    \
  KEYWORDS void run(const operation_arguments<B>&, const branch_step_op<T, V>&); \
  KEYWORDS void run(const operation_arguments<B>&, const log_prob_op<T, V>&);    \
  KEYWORDS void run(const operation_arguments<B>&, const row_sums_op<T, V>&)

#define TEMPFLOW_INSTANTIATE_LOSS_ON(KEYWORDS, B, T, V, G)                                        \
  KEYWORDS void run(const operation_arguments<B>&, const policy_loss_op<T, V, G, clipped_grpo>&); \
  KEYWORDS void run(const operation_arguments<B>&, const row_gradient_op<T, V, G>&)

// What host backends have of losses, the same for all objectives.
#define TEMPFLOW_INSTANTIATE_ROW_LOSS_ON(KEYWORDS, B, T, V, G)                                       \
  KEYWORDS void run_policy_loss(const operation_arguments<B>&, const any_policy_loss_op<T, V, G>&);  \
  KEYWORDS void run_gradients<false>(const operation_arguments<B>&, const row_gradient_op<T, V, G>&, \
                                     const row_scorer*, double, std::span<row_factors>);             \
  KEYWORDS void run_gradients<true>(const operation_arguments<B>&, const row_gradient_op<T, V, G>&,  \
                                    const row_scorer*, double, std::span<row_factors>)

#define TEMPFLOW_INSTANTIATE_HOST_LOSS_ON(KEYWORDS, B, T, V, G) \
  TEMPFLOW_INSTANTIATE_LOSS_ON(KEYWORDS, B, T, V, G);           \
  TEMPFLOW_INSTANTIATE_ROW_LOSS_ON(KEYWORDS, B, T, V, G)

#define TEMPFLOW_INSTANTIATE_OPS_ON(KEYWORDS, B, T)                          \
  TEMPFLOW_INSTANTIATE_STEPS_ON(KEYWORDS, B, T, T);                          \
  TEMPFLOW_INSTANTIATE_LOSS_ON(KEYWORDS, B, T, T, T);                        \
  KEYWORDS void run(const operation_arguments<B>&, const fill_noise_op<T>&); \
  KEYWORDS void run(const operation_arguments<B>&, const put_back_op<T>&);   \
  KEYWORDS void run(const operation_arguments<B>&, const ema_update_op<T>&); \
  KEYWORDS void run(const operation_arguments<B>&, const guide_op<T, T>&);   \
  KEYWORDS void run(const operation_arguments<B>&, const guide_gradient_op<T, T>&)

/// All operations on rows of T. KEYWORDS: `extern template` to declare, `template` to define.
#define TEMPFLOW_INSTANTIATE_OPS(KEYWORDS, T)                             \
  TEMPFLOW_INSTANTIATE_OPS_ON(KEYWORDS, reference_backend, T);            \
  TEMPFLOW_INSTANTIATE_ROW_LOSS_ON(KEYWORDS, reference_backend, T, T, T); \
  TEMPFLOW_INSTANTIATE_OPS_ON(KEYWORDS, cpu_backend, T);                  \
  TEMPFLOW_INSTANTIATE_ROW_LOSS_ON(KEYWORDS, cpu_backend, T, T, T)

/// The same, with gradients in fp32 too. T: not float.
#define TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT(KEYWORDS, T)                \
  TEMPFLOW_INSTANTIATE_OPS(KEYWORDS, T);                                       \
  TEMPFLOW_INSTANTIATE_HOST_LOSS_ON(KEYWORDS, reference_backend, T, T, float); \
  TEMPFLOW_INSTANTIATE_HOST_LOSS_ON(KEYWORDS, cpu_backend, T, T, float)

/// All operations on fp32 states with 16-bit velocities V, as under autocast, on the cpu backend.
#define TEMPFLOW_INSTANTIATE_OPS_WITH_VELOCITIES(KEYWORDS, V)            \
  TEMPFLOW_INSTANTIATE_STEPS_ON(KEYWORDS, cpu_backend, float, V);        \
  TEMPFLOW_INSTANTIATE_HOST_LOSS_ON(KEYWORDS, cpu_backend, float, V, V); \
  TEMPFLOW_INSTANTIATE_HOST_LOSS_ON(KEYWORDS, cpu_backend, float, V, float)

namespace tempflow::detail {

TEMPFLOW_INSTANTIATE_OPS(extern template, float);
TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT(extern template, double);
TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT(extern template, bfloat16);
TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT(extern template, float16);
TEMPFLOW_INSTANTIATE_OPS_WITH_VELOCITIES(extern template, bfloat16);
TEMPFLOW_INSTANTIATE_OPS_WITH_VELOCITIES(extern template, float16);

}  // namespace tempflow::detail
