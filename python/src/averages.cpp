// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Averages of weights.

#include <torch/csrc/stable/library.h>

#include <algorithm>

#include "backend.hpp"

namespace tempflow::python {
namespace {

void ema_update(const Tensor& average, const Tensor& weights, double decay) {
  typed([&] {
    constexpr auto operation = "ema_update";
    check_type(operation, "weights", weights, average.scalar_type());
    const auto extents = average.sizes(), expected = weights.sizes();
    if (!average.is_contiguous() ||
        !std::equal(extents.begin(), extents.end(), expected.begin(), expected.end())) {
      throw shape_error(detail::message(operation, ": average has shape ", shape_of(average),
                                        average.is_contiguous() ? "" : ", not contiguous", ", weights ",
                                        shape_of(weights)));
    }
    const Tensor from = weights.is_contiguous() ? weights : torch::stable::contiguous(weights);
    check_device(operation, "weights", weights, average);
    const backend_on backend(average, 1, 1);
    with_type(operation, "average", average.scalar_type(), [&](auto t) {
      using T = decltype(t);
      const auto count = static_cast<std::size_t>(average.numel());
      const std::span to(static_cast<T*>(average.mutable_data_ptr()), count);
      const std::span of(static_cast<const T*>(from.const_data_ptr()), count);
      detail::check_same_or_apart(operation, "average", batch_view(to.data(), 1, average.numel()), "weights",
                                  batch_view(of.data(), 1, average.numel()));
      tempflow::ema_update(*backend, to, of, decay);
    });
    return 0;
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, TEMPFLOW_PYTHON_DISPATCH, m) {
  m.impl("ema_update", TORCH_BOX(&tempflow::python::ema_update));
}
