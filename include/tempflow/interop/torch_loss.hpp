// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_loss for LibTorch's autograd: a scalar whose backward() hands dL/dv on to the model that made v.
//
//   auto v = model.forward(x, t);                                           // (S, ...), requires grad
//   auto [loss, statistics] = tf::policy_loss(backend, batch, v, {}, tf::clipped_grpo{});
//   loss.backward();

#include <torch/csrc/autograd/custom_function.h>

#include "tempflow/interop/torch.hpp"
#include "tempflow/ops/policy_loss.hpp"

namespace tempflow {

/// The loss for backward(), a float64 scalar, and the statistics of its rows.
struct torch_loss {
  at::Tensor loss;
  policy_statistics statistics;
};

namespace detail {

/// Where a backend's batches lie.
template <class B>
constexpr at::DeviceType torch_device_type() {
  return device_memory_backend<B> ? at::kCUDA : at::kCPU;
}

/// A number whose derivative with respect to v is known.
struct known_gradient : torch::autograd::Function<known_gradient> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor&,
                            const at::Tensor& gradient, double value) {
    context->saved_data["gradient"] =
        gradient;  // of no graph: nothing else sees it, so it may be scaled in place
    return at::scalar_tensor(value, at::TensorOptions(at::kDouble));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& upstream) {
    at::Tensor gradient = context->saved_data["gradient"].toTensor();
    if (!gradient.defined() || gradient.numel() == 0 || context->saved_data.count("scaled") > 0) {
      throw value_error(
          "policy_loss: a second backward() after one that scaled the gradient; call policy_loss again");
    }
    if (const double scale = upstream[0].item<double>(); scale != 1) {
      gradient.mul_(scale);
      context->saved_data["scaled"] = true;
    }
    return {gradient, {}, {}};
  }
};

}  // namespace detail

/// policy_loss of a batch and a tensor of velocities, for autograd.
///
/// v: (S, ...), the policy's velocity at batch.x, in any storage type; where samples are not packed it is copied. v_ref: the
/// same, or undefined. Differentiable in v alone. An upstream gradient other than 1 (a loss scale, a share of an
/// accumulated batch) scales the gradient in place, after which a retained graph cannot be run backward again. For
/// fp16 velocities the gradient is fp32 until then. On a CUDA backend it waits for the statistics. Throws as batch_view_of
/// and policy_loss.
template <class B, storage_scalar T, policy_objective Objective>
torch_loss policy_loss(const B& backend, const policy_batch<T>& batch, const at::Tensor& v,
                       const at::Tensor& v_ref, const Objective& objective) {
  if (!v.defined()) throw memory_error("policy_loss: v is undefined");
  return with_storage_type(v.scalar_type(), [&]<class V>(std::type_identity<V>) -> torch_loss {
    if constexpr (!velocities_for<batch_view<const V>, T>) {
      throw value_error(detail::message("policy_loss: v is ", detail::torch_text(v), ", states are ",
                                        c10::toString(detail::torch_dtype<T>())));
    } else {
      using G = gradient_t<V>;
      constexpr at::DeviceType reached_by = detail::torch_device_type<B>();
      const at::Tensor values = v.detach().contiguous();
      const at::Tensor reference = v_ref.defined() ? v_ref.detach().contiguous() : at::Tensor();
      const at::Tensor gradient = at::empty(values.sizes(), values.options().dtype(detail::torch_dtype<G>()));
      const policy_statistics statistics = policy_loss(
          backend, batch, batch_view_of<const V>(values, reached_by),
          reference.defined() ? batch_view_of<const V>(reference, reached_by) : batch_view<const V>(),
          objective, batch_view_of<G>(gradient, reached_by));
      return {detail::known_gradient::apply(v, gradient, statistics.loss), statistics};
    }
  });
}

}  // namespace tempflow
