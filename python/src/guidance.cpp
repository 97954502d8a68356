// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Classifier-free guidance and its gradient. On a device they do not wait.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "backend.hpp"
#include "tempflow/ops/guidance.hpp"

namespace tempflow::python {
namespace {

/// A scale for all rows, or one for each: a tensor of one number, or of R.
class guidance_scale {
 public:
  guidance_scale(std::string_view operation, const Tensor& scale, const Tensor& batch)
      : numbers_(operation, "scale", scale, 1, table_memory::any) {
    if (scale.is_cuda()) check_device(operation, "scale", scale, batch);
  }

  guidance_options options(index_t channels) const {
    const auto values = numbers_.values();
    if (values.size() == 1 && numbers_.on_host()) return {.scale = values[0], .channels = channels};
    return {.scale = values, .channels = channels};
  }

 private:
  table<double> numbers_;
};

Tensor guide(const Tensor& conditional, const Tensor& unconditional, const Tensor& scale,
             std::int64_t channels) {
  return typed([&] {
    constexpr auto operation = "guide";
    const row_tensor c(operation, "conditional", conditional),
        u(operation, "unconditional", unconditional, c);
    check_type(operation, "unconditional", unconditional, c.type());
    const guidance_scale scales(operation, scale, conditional);
    const Tensor guided = torch::stable::new_empty(conditional, with_rows(conditional, c.rows()));
    const backend_on backend(conditional, c.rows(), c.columns());
    with_type(operation, "conditional", c.type(), [&](auto t) {
      using T = decltype(t);
      tempflow::guide(*backend, c.view<T>(), u.view<T>(), scales.options(channels), output_view<T>(guided));
    });
    return guided;
  });
}

std::tuple<Tensor, Tensor> guide_gradient(const Tensor& gradient, std::optional<Tensor> conditional,
                                          std::optional<Tensor> unconditional, const Tensor& scale,
                                          std::int64_t channels, bool of_conditional, bool of_unconditional) {
  return typed([&] {
    constexpr auto operation = "guide_gradient";
    const row_tensor g(operation, "gradient", gradient);
    const auto prediction = [&](std::string_view name, const std::optional<Tensor>& given) {
      std::optional<row_tensor> rows;
      if (given) check_type(operation, name, *given, g.type()), rows.emplace(operation, name, *given, g);
      return rows;
    };
    const auto c = prediction("conditional", conditional), u = prediction("unconditional", unconditional);
    const guidance_scale scales(operation, scale, gradient);
    const Tensor to_c =
                     torch::stable::new_empty(gradient, with_rows(gradient, of_conditional ? g.rows() : 0)),
                 to_u =
                     torch::stable::new_empty(gradient, with_rows(gradient, of_unconditional ? g.rows() : 0));
    const backend_on backend(gradient, g.rows(), g.columns());
    with_type(operation, "gradient", g.type(), [&](auto t) {
      using T = decltype(t);
      tempflow::guide_gradient(*backend, g.view<T>(), c ? c->view<T>() : batch_view<const T>(),
                               u ? u->view<T>() : batch_view<const T>(), scales.options(channels),
                               of_conditional ? output_view<T>(to_c) : batch_view<T>(),
                               of_unconditional ? output_view<T>(to_u) : batch_view<T>());
    });
    return std::tuple(to_c, to_u);
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, TEMPFLOW_PYTHON_DISPATCH, m) {
  m.impl("guide", TORCH_BOX(&tempflow::python::guide));
  m.impl("guide_gradient", TORCH_BOX(&tempflow::python::guide_gradient));
}
