// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where operators run. Those on batches are compiled twice: for the CPU on torch's own threads, and with
// TEMPFLOW_PYTHON_CUDA for the stream that is current on the device of their tensors.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>

#include "objectives.hpp"
#include "tables.hpp"
#include "tempflow/backend/executor.hpp"
#include "tempflow/ops/log_prob_gradient.hpp"
#include "tempflow/tempflow.hpp"
#ifdef TEMPFLOW_PYTHON_CUDA
#include "tempflow/cuda.hpp"
#endif

namespace tempflow::python {

#ifdef TEMPFLOW_PYTHON_CUDA

#define TEMPFLOW_PYTHON_DISPATCH CUDA
using operator_backend = cuda_backend;

/// A backend for one call. Its workspace is torch's memory, of the stream's own pool: nothing outlives the call, and a
/// graph that captures it keeps it.
class backend_on {
 public:
  backend_on(const Tensor& tensor, index_t rows, index_t columns, index_t explorations = 1)
      : workspace_(torch::stable::new_empty(tensor, {bytes(rows, columns, explorations)}, ScalarType::Byte)),
        backend_(stream_of(tensor), {static_cast<std::byte*>(workspace_.mutable_data_ptr()),
                                     static_cast<std::size_t>(workspace_.numel())}) {}

  const operator_backend& operator*() const { return backend_; }

 private:
  static std::int64_t bytes(index_t rows, index_t columns, index_t explorations) {
    return static_cast<std::int64_t>(device_workspace_bytes(rows, columns, explorations));
  }

  static cuda_device stream_of(const Tensor& tensor) {
    if (!tensor.is_cuda())
      throw memory_error("tempflow: the batches lie on the CPU, a table on a CUDA device");
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
    // Torch's default stream is the legacy one, whose name here is not 0.
    return cuda_device(stream == nullptr ? cudaStreamLegacy : static_cast<cudaStream_t>(stream),
                       tensor.get_device_index());
  }

  Tensor workspace_;
  operator_backend backend_;
};

#else

#define TEMPFLOW_PYTHON_DISPATCH CPU

/// at::parallel_for, an executor.
struct torch_threads {
  index_t threads() const { return torch::stable::get_num_threads(); }
  void parallel_for(index_t count, const executor_body& body) const {
    torch::stable::parallel_for(0, count, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) body(i);
    });
  }
};

using operator_backend = executor_backend<const torch_threads>;

class backend_on {
 public:
  backend_on() = default;
  explicit backend_on(const Tensor&, index_t = 0, index_t = 0, index_t = 0) {}

  operator_backend operator*() const {
    static constexpr torch_threads threads;
    return operator_backend(threads);
  }
};

#endif

/// Calls f(T{}) with a tensor's storage type.
template <class F>
void with_type(std::string_view operation, std::string_view name, ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float: return f(float{});
    case ScalarType::Double: return f(double{});
    case ScalarType::BFloat16: return f(bfloat16{});
    case ScalarType::Half: return f(float16{});
    default: break;
  }
  throw value_error(detail::message(operation, ": ", name, " is ", name_of(type),
                                    ", expected float32, float64, bfloat16 or float16"));
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

#include "kernels.hpp"
