// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A loss in two calls: policy_sums and policy_gradient. On a device they do not wait.

#include <torch/csrc/stable/library.h>

#include "batches.hpp"
#include "tempflow/ops/policy_gradient.hpp"
#include "tempflow/ops/policy_sums.hpp"

namespace tempflow::python {
namespace {

/// Tensors that both calls take.
struct held_loss {
  held_batch batch;
  row_tensor v;
  std::optional<row_tensor> v_ref, v_old;
  Tensor like;

  held_loss(std::string_view operation, const Tensor& velocity, const Tensor& x, const Tensor& y,
            const std::optional<Tensor>& reference, const std::optional<Tensor>& old,
            const std::optional<Tensor>& mask, const std::optional<Tensor>& offsets,
            const Tensor& transitions)
      : batch(operation, x, y, transitions, offsets, mask),
        v(operation, "v", velocity, batch.x),
        v_ref(other_velocity(operation, "v_ref", reference, v)),
        v_old(other_velocity(operation, "v_old", old, v)),
        like(velocity) {
    if (transitions.is_cuda()) check_device(operation, "transitions", transitions, x);
  }

  index_t rows() const { return batch.y->rows(); }

  /// Calls f(backend, batch, v, v_ref, v_old).
  template <class F>
  void call(std::string_view operation, const F& f) const {
    const backend_on backend(like, (std::max)(rows(), v.rows()), v.columns());
    with_types(operation, batch.x.type(), v.type(), [&](auto t, auto w) {
      using V = decltype(w);
      f(*backend, batch.batch<decltype(t)>(), v.view<V>(), view_of<V>(v_ref), view_of<V>(v_old));
    });
  }
};

Tensor policy_sums(const Tensor& v, const Tensor& x, const Tensor& y, std::optional<Tensor> v_ref,
                   std::optional<Tensor> v_old, std::optional<Tensor> mask, std::optional<Tensor> offsets,
                   const Tensor& transitions, double mixture) {
  return typed([&] {
    constexpr auto operation = "policy_sums";
    const held_loss held(operation, v, x, y, v_ref, v_old, mask, offsets, transitions);
    const Tensor sums = numbers_like(v, {held.rows(), sum_numbers});
    const std::span to(reinterpret_cast<row_sums*>(sums.mutable_data_ptr()),
                       static_cast<std::size_t>(held.rows()));
    held.call(operation,
              [&](const auto& backend, const auto& batch, auto velocity, auto reference, auto old) {
                tempflow::policy_sums(backend, batch, velocity, reference, old, to, mixture);
              });
    return sums;
  });
}

Tensor policy_gradient(const Tensor& v, const Tensor& x, const Tensor& y, std::optional<Tensor> v_ref,
                       std::optional<Tensor> v_old, std::optional<Tensor> mask, std::optional<Tensor> offsets,
                       const Tensor& transitions, const Tensor& factors) {
  return typed([&] {
    constexpr auto operation = "policy_gradient";
    const held_loss held(operation, v, x, y, v_ref, v_old, mask, offsets, transitions);
    const table<double> numbers(operation, "factors", factors, factor_numbers, table_memory::any);
    if (factors.is_cuda()) check_device(operation, "factors", factors, x);
    const std::span given(reinterpret_cast<const row_factors*>(numbers.values().data()),
                          numbers.values().size() / factor_numbers);
    Tensor gradient = v;  // for its type
    held.call(operation,
              [&](const auto& backend, const auto& batch, auto velocity, auto reference, auto old) {
                using G = gradient_t<storage_of<decltype(velocity)>>;
                gradient = torch::stable::new_empty(v, with_rows(v, held.v.rows()), scalar_type_of<G>());
                tempflow::policy_gradient(backend, batch, velocity, reference, old, given,
                                          gradient_view<G>(gradient, held.v));
              });
    return gradient;
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, TEMPFLOW_PYTHON_DISPATCH, m) {
  m.impl("policy_sums", TORCH_BOX(&tempflow::python::policy_sums));
  m.impl("policy_gradient", TORCH_BOX(&tempflow::python::policy_gradient));
}
