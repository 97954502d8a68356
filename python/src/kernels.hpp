// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What python::operator_backend runs, compiled in sources of its own (kernels.cpp.in, kernels.cu.in).

#define TEMPFLOW_PYTHON_KERNELS(KEYWORDS, T, V)                                                         \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const step_op<T, V>&);        \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const ode_step_op<T, V>&);    \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const branch_step_op<T, V>&); \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const log_prob_op<T, V>&);    \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&,                               \
                    const policy_loss_op<T, V, gradient_t<V>, python::ratio_choice>&);                  \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&,                               \
                    const row_loss_op<T, V, gradient_t<V>, ratio_objective<python::ratio_choice>>&);    \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&,                               \
                    const row_loss_op<T, V, gradient_t<V>, python::row_choice>&);                       \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const row_sums_op<T, V>&);    \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&,                               \
                    const row_gradient_op<T, V, gradient_t<V>>&);                                       \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&,                               \
                    const policy_loss_op<T, V, gradient_t<V>, given_factors>&);                         \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&,                               \
                    const row_loss_op<T, V, gradient_t<V>, ratio_objective<given_factors>>&)
#define TEMPFLOW_PYTHON_KERNELS_OF_ONE(KEYWORDS, T)                                                 \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const fill_noise_op<T>&); \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const put_back_op<T>&);   \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const ema_update_op<T>&); \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const guide_op<T, T>&);   \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const guide_gradient_op<T, T>&)
#define TEMPFLOW_PYTHON_KERNELS_OF_NONE(KEYWORDS) \
  KEYWORDS void run(const operation_arguments<python::operator_backend>&, const summarize_op&)

#ifndef TEMPFLOW_PYTHON_DEFINES_KERNELS
namespace tempflow::detail {
TEMPFLOW_PYTHON_KERNELS(extern template, float, float);
TEMPFLOW_PYTHON_KERNELS(extern template, double, double);
TEMPFLOW_PYTHON_KERNELS(extern template, bfloat16, bfloat16);
TEMPFLOW_PYTHON_KERNELS(extern template, float16, float16);
TEMPFLOW_PYTHON_KERNELS(extern template, float, bfloat16);
TEMPFLOW_PYTHON_KERNELS(extern template, float, float16);
TEMPFLOW_PYTHON_KERNELS_OF_ONE(extern template, float);
TEMPFLOW_PYTHON_KERNELS_OF_ONE(extern template, double);
TEMPFLOW_PYTHON_KERNELS_OF_ONE(extern template, bfloat16);
TEMPFLOW_PYTHON_KERNELS_OF_ONE(extern template, float16);
TEMPFLOW_PYTHON_KERNELS_OF_NONE(extern template);
}  // namespace tempflow::detail
#endif
