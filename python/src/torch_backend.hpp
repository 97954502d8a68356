// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The CPU backend on torch's own threads, and the pairs of types that its kernels are compiled for (kernels.cpp.in).

#include <torch/csrc/stable/ops.h>

#include "tempflow/backend/executor.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/ops/log_prob_gradient.hpp"
#include "tempflow/tempflow.hpp"
#include "tensors.hpp"

namespace tempflow::python {

/// at::parallel_for, an executor.
struct torch_threads {
  index_t threads() const { return torch::stable::get_num_threads(); }
  void parallel_for(index_t count, const executor_body& body) const {
    torch::stable::parallel_for(0, count, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) body(i);
    });
  }
};

using torch_backend = executor_backend<const torch_threads>;

inline torch_backend on_torch() {
  static constexpr torch_threads threads;
  return torch_backend(threads);
}

/// Calls f(T{}, V{}) with the storage types of states and velocities.
template <class F>
void with_types(std::string_view operation, ScalarType states, ScalarType velocities, const F& f) {
  if (states == velocities) {
    switch (states) {
      case ScalarType::Float: return f(float{}, float{});
      case ScalarType::Double: return f(double{}, double{});
      case ScalarType::BFloat16: return f(bfloat16{}, bfloat16{});
      case ScalarType::Half: return f(float16{}, float16{});
      default: break;
    }
  } else if (states == ScalarType::Float) {
    if (velocities == ScalarType::BFloat16) return f(float{}, bfloat16{});
    if (velocities == ScalarType::Half) return f(float{}, float16{});
  }
  throw value_error(
      detail::message(operation, ": x is ", name_of(states), " and v is ", name_of(velocities),
                      "; v has the dtype of x (float32, float64, bfloat16, float16), or is bfloat16 or "
                      "float16 beside float32"));
}

}  // namespace tempflow::python

#define TEMPFLOW_PYTHON_KERNELS(KEYWORDS, T, V)                                                      \
  KEYWORDS void run(const operation_arguments<python::torch_backend>&, const step_op<T, V>&);        \
  KEYWORDS void run(const operation_arguments<python::torch_backend>&, const ode_step_op<T, V>&);    \
  KEYWORDS void run(const operation_arguments<python::torch_backend>&, const branch_step_op<T, V>&); \
  KEYWORDS void run(const operation_arguments<python::torch_backend>&, const log_prob_op<T, V>&);    \
  KEYWORDS void run(const operation_arguments<python::torch_backend>&,                               \
                    const policy_loss_op<T, V, gradient_t<V>, clipped_grpo>&);                       \
  KEYWORDS void run(const operation_arguments<python::torch_backend>&,                               \
                    const policy_loss_op<T, V, gradient_t<V>, given_factors>&)
#define TEMPFLOW_PYTHON_KERNELS_OF_ONE(KEYWORDS, T)                                              \
  KEYWORDS void run(const operation_arguments<python::torch_backend>&, const fill_noise_op<T>&); \
  KEYWORDS void run(const operation_arguments<python::torch_backend>&, const ema_update_op<T>&)

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
}  // namespace tempflow::detail
#endif
