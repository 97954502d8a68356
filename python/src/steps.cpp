// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Operators of a step. On a device they do not wait: results per row lie where x does.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "backend.hpp"
#include "convention.hpp"

namespace tempflow::python {
namespace {

void fill_noise(const Tensor& out, const Tensor& ids, std::int64_t seed, std::int64_t update, bool antithetic,
                std::int64_t first_element) {
  typed([&] {
    constexpr auto operation = "noise";
    const row_tensor to(operation, "out", out);
    to.check_packed(operation, "out");
    const auto rows = noise_ids(operation, ids);
    const backend_on backend(out, to.rows(), to.columns());
    with_type(operation, "dtype", to.type(), [&](auto type) {
      tempflow::fill_noise(*backend,
                           noise_source(key_of(operation, seed, update), rows, antithetic, first_element),
                           output_view<decltype(type)>(out));
    });
    return 0;
  });
}

std::tuple<Tensor, Tensor> step(const Tensor& x, const Tensor& v, const Tensor& transitions,
                                const Tensor& ids, std::int64_t seed, std::int64_t update, bool antithetic,
                                std::int64_t first_element, std::optional<Tensor> mask, bool scored,
                                std::string reduction, std::string terms) {
  return typed([&] {
    const row_tensor from("step", "x", x), velocity("step", "v", v, from);
    const transition_table steps("step", "transitions", transitions);
    const auto rows = noise_ids("step", ids);
    const mask_tensor counted("step", mask, from);
    const Tensor y = torch::stable::new_empty(x, with_rows(x, from.rows()));
    const Tensor log_probs = numbers_like(x, {scored ? from.rows() : 0});
    const backend_on backend(x, from.rows(), from.columns());
    with_types("step", from.type(), velocity.type(), [&](auto t, auto w) {
      tempflow::step(*backend, from.view<decltype(t)>(), velocity.view<decltype(w)>(), steps,
                     noise_source(key_of("step", seed, update), rows, antithetic, first_element),
                     output_view<decltype(t)>(y), values_of(log_probs),
                     convention_of("step", reduction, terms), counted);
    });
    return std::tuple(y, log_probs);
  });
}

Tensor ode_step(const Tensor& x, const Tensor& v, const Tensor& transitions, std::optional<Tensor> mask) {
  return typed([&] {
    const row_tensor from("ode_step", "x", x), velocity("ode_step", "v", v, from);
    const transition_table steps("ode_step", "transitions", transitions);
    const mask_tensor counted("ode_step", mask, from);
    const Tensor y = torch::stable::new_empty(x, with_rows(x, from.rows()));
    const backend_on backend(x, from.rows(), from.columns());
    with_types("ode_step", from.type(), velocity.type(), [&](auto t, auto w) {
      tempflow::ode_step(*backend, from.view<decltype(t)>(), velocity.view<decltype(w)>(), steps,
                         output_view<decltype(t)>(y), counted);
    });
    return y;
  });
}

std::tuple<Tensor, Tensor, Tensor> branch_step(const Tensor& x, const Tensor& v,
                                               std::optional<Tensor> trunk_transitions,
                                               const Tensor& branch_transitions, const Tensor& ids,
                                               std::int64_t explorations, std::int64_t seed,
                                               std::int64_t update, bool antithetic,
                                               std::int64_t first_element, std::optional<Tensor> mask,
                                               std::string reduction, std::string terms) {
  return typed([&] {
    constexpr auto operation = "branch_step";
    const row_tensor from(operation, "x", x), velocity(operation, "v", v, from);
    const transition_table steps(operation, "branch_transitions", branch_transitions);
    const auto rows = noise_ids(operation, ids);
    const mask_tensor counted(operation, mask, from);
    if (explorations < 1 || explorations > 65536) {
      throw value_error(
          detail::message("branch_step: explorations = ", explorations, ", must lie in [1, 65536]"));
    }
    std::optional<transition_table> trunk_steps;
    if (trunk_transitions) trunk_steps.emplace(operation, "trunk_transitions", *trunk_transitions);
    const Tensor trunk = torch::stable::new_empty(x, with_rows(x, trunk_steps ? from.rows() : 0));
    const Tensor branches = torch::stable::new_empty(x, with_rows(x, from.rows() * explorations));
    const Tensor log_probs = numbers_like(x, {from.rows() * explorations});
    const backend_on backend(x, from.rows(), from.columns(), explorations);
    with_types(operation, from.type(), velocity.type(), [&](auto t, auto w) {
      using T = decltype(t);
      tempflow::branch_step(*backend, from.view<T>(), velocity.view<decltype(w)>(),
                            trunk_steps ? per_row<transition>(*trunk_steps) : per_row<transition>(), steps,
                            noise_source(key_of(operation, seed, update), rows, antithetic, first_element),
                            trunk_steps ? output_view<T>(trunk) : batch_view<T>(), output_view<T>(branches),
                            values_of(log_probs), convention_of(operation, reduction, terms), counted);
    });
    return std::tuple(trunk, branches, log_probs);
  });
}

Tensor log_prob(const Tensor& x, const Tensor& v, const Tensor& y, std::optional<Tensor> mask,
                std::optional<Tensor> offsets, const Tensor& transitions, std::string reduction,
                std::string terms) {
  return typed([&] {
    constexpr auto operation = "log_prob";
    const row_tensor from(operation, "x", x), velocity(operation, "v", v, from), to(operation, "y", y, from);
    check_type(operation, "y", y, from.type());
    const transition_table steps(operation, "transitions", transitions);
    const offset_table cuts(operation, offsets);
    const mask_tensor counted(operation, mask, from);
    const Tensor log_probs = numbers_like(x, {to.rows()});
    const backend_on backend(x, (std::max)(from.rows(), to.rows()), from.columns());
    with_types(operation, from.type(), velocity.type(), [&](auto t, auto w) {
      using T = decltype(t);
      policy_batch<T> batch;
      batch.x = from.view<T>();
      batch.y = to.view<T>();
      batch.transitions = steps;
      batch.offsets = cuts;
      batch.mask = counted;
      batch.convention = convention_of(operation, reduction, terms);
      tempflow::log_prob(*backend, batch, velocity.view<decltype(w)>(), values_of(log_probs));
    });
    return log_probs;
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, TEMPFLOW_PYTHON_DISPATCH, m) {
  m.impl("fill_noise", TORCH_BOX(&tempflow::python::fill_noise));
  m.impl("step", TORCH_BOX(&tempflow::python::step));
  m.impl("ode_step", TORCH_BOX(&tempflow::python::ode_step));
  m.impl("branch_step", TORCH_BOX(&tempflow::python::branch_step));
  m.impl("log_prob", TORCH_BOX(&tempflow::python::log_prob));
}
