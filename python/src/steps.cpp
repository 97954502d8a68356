// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Operators of a step: noise, step, ode_step, branch_step, log_prob.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "convention.hpp"
#include "torch_backend.hpp"

namespace tempflow::python {
namespace {

Tensor numbers_per_row(index_t rows) { return torch::stable::empty({rows}, ScalarType::Double); }

std::span<double> values_of(const Tensor& numbers) {
  return {static_cast<double*>(numbers.mutable_data_ptr()), static_cast<std::size_t>(numbers.numel())};
}

Tensor noise(const Tensor& ids, std::int64_t seed, std::int64_t update, std::vector<std::int64_t> shape,
             ScalarType dtype, bool antithetic) {
  return typed([&] {
    const auto rows = noise_ids("noise", ids);
    shape.insert(shape.begin(), static_cast<std::int64_t>(rows.size()));
    for (const std::int64_t extent : shape) {
      if (extent < 0) throw shape_error(detail::message("noise: a sample with extent ", extent));
    }
    const Tensor out = torch::stable::empty(shape, dtype);
    with_types("noise", dtype, dtype, [&](auto type, auto) {
      fill_noise(on_torch(), noise_source(key_of("noise", seed, update), rows, antithetic),
                 output_view<decltype(type)>(out));
    });
    return out;
  });
}

std::tuple<Tensor, Tensor> step(const Tensor& x, const Tensor& v, const Tensor& transitions,
                                const Tensor& ids, std::int64_t seed, std::int64_t update, bool antithetic,
                                bool scored, std::string reduction, std::string terms) {
  return typed([&] {
    const row_tensor from("step", "x", x), velocity("step", "v", v);
    const transition_table steps("step", "transitions", transitions);
    const auto rows = noise_ids("step", ids);
    const Tensor y = torch::stable::new_empty(x, with_rows(x, from.rows()));
    const Tensor log_probs = numbers_per_row(scored ? from.rows() : 0);
    with_types("step", from.type(), velocity.type(), [&](auto t, auto w) {
      tempflow::step(on_torch(), from.view<decltype(t)>(), velocity.view<decltype(w)>(), steps,
                     noise_source(key_of("step", seed, update), rows, antithetic),
                     output_view<decltype(t)>(y), values_of(log_probs),
                     convention_of("step", reduction, terms));
    });
    return std::tuple(y, log_probs);
  });
}

Tensor ode_step(const Tensor& x, const Tensor& v, const Tensor& transitions) {
  return typed([&] {
    const row_tensor from("ode_step", "x", x), velocity("ode_step", "v", v);
    const transition_table steps("ode_step", "transitions", transitions);
    const Tensor y = torch::stable::new_empty(x, with_rows(x, from.rows()));
    with_types("ode_step", from.type(), velocity.type(), [&](auto t, auto w) {
      tempflow::ode_step(on_torch(), from.view<decltype(t)>(), velocity.view<decltype(w)>(), steps,
                         output_view<decltype(t)>(y));
    });
    return y;
  });
}

std::tuple<Tensor, Tensor, Tensor> branch_step(const Tensor& x, const Tensor& v,
                                               std::optional<Tensor> trunk_transitions,
                                               const Tensor& branch_transitions, const Tensor& ids,
                                               std::int64_t explorations, std::int64_t seed,
                                               std::int64_t update, bool antithetic, std::string reduction,
                                               std::string terms) {
  return typed([&] {
    constexpr auto operation = "branch_step";
    const row_tensor from(operation, "x", x), velocity(operation, "v", v);
    const transition_table steps(operation, "branch_transitions", branch_transitions);
    const auto rows = noise_ids(operation, ids);
    if (explorations < 1 || explorations > 65536) {
      throw value_error(
          detail::message("branch_step: explorations = ", explorations, ", must lie in [1, 65536]"));
    }
    std::optional<transition_table> trunk_steps;
    if (trunk_transitions) trunk_steps.emplace(operation, "trunk_transitions", *trunk_transitions);
    const Tensor trunk = torch::stable::new_empty(x, with_rows(x, trunk_steps ? from.rows() : 0));
    const Tensor branches = torch::stable::new_empty(x, with_rows(x, from.rows() * explorations));
    const Tensor log_probs = numbers_per_row(from.rows() * explorations);
    with_types(operation, from.type(), velocity.type(), [&](auto t, auto w) {
      using T = decltype(t);
      tempflow::branch_step(on_torch(), from.view<T>(), velocity.view<decltype(w)>(),
                            trunk_steps ? per_row<transition>(*trunk_steps) : per_row<transition>(), steps,
                            noise_source(key_of(operation, seed, update), rows, antithetic),
                            trunk_steps ? output_view<T>(trunk) : batch_view<T>(), output_view<T>(branches),
                            values_of(log_probs), convention_of(operation, reduction, terms));
    });
    return std::tuple(trunk, branches, log_probs);
  });
}

Tensor log_prob(const Tensor& x, const Tensor& v, const Tensor& y, std::optional<Tensor> offsets,
                const Tensor& transitions, std::string reduction, std::string terms) {
  return typed([&] {
    constexpr auto operation = "log_prob";
    const row_tensor from(operation, "x", x), velocity(operation, "v", v), to(operation, "y", y);
    check_type(operation, "y", y, from.type());
    const transition_table steps(operation, "transitions", transitions);
    std::optional<table<std::int64_t>> cuts;
    if (offsets) cuts.emplace(operation, "offsets", *offsets);
    const Tensor log_probs = numbers_per_row(to.rows());
    with_types(operation, from.type(), velocity.type(), [&](auto t, auto w) {
      using T = decltype(t);
      policy_batch<T> batch;
      batch.x = from.view<T>();
      batch.y = to.view<T>();
      batch.transitions = steps;
      if (cuts) batch.offsets = as_indices(cuts->values());
      batch.convention = convention_of(operation, reduction, terms);
      tempflow::log_prob(on_torch(), batch, velocity.view<decltype(w)>(), values_of(log_probs));
    });
    return log_probs;
  });
}

std::string instruction_set() { return to_string(on_torch().instructions()); }

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_FRAGMENT(tempflow, m) {
  m.def("instruction_set() -> str");
  m.def("noise(Tensor ids, int seed, int update, int[] shape, ScalarType dtype, bool antithetic) -> Tensor");
  m.def(
      "step(Tensor x, Tensor v, Tensor transitions, Tensor ids, int seed, int update, bool antithetic, bool "
      "scored, "
      "str reduction, str terms) -> (Tensor, Tensor)");
  m.def("ode_step(Tensor x, Tensor v, Tensor transitions) -> Tensor");
  m.def(
      "branch_step(Tensor x, Tensor v, Tensor? trunk_transitions, Tensor branch_transitions, Tensor ids, "
      "int explorations, int seed, int update, bool antithetic, str reduction, str terms) -> (Tensor, "
      "Tensor, Tensor)");
  m.def(
      "log_prob(Tensor x, Tensor v, Tensor y, Tensor? offsets, Tensor transitions, str reduction, str terms) "
      "-> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(tempflow, CPU, m) {
  m.impl("noise", TORCH_BOX(&tempflow::python::noise));
  m.impl("step", TORCH_BOX(&tempflow::python::step));
  m.impl("ode_step", TORCH_BOX(&tempflow::python::ode_step));
  m.impl("branch_step", TORCH_BOX(&tempflow::python::branch_step));
  m.impl("log_prob", TORCH_BOX(&tempflow::python::log_prob));
}

STABLE_TORCH_LIBRARY_IMPL(tempflow, CompositeExplicitAutograd, m) {
  m.impl("instruction_set", TORCH_BOX(&tempflow::python::instruction_set));
}
