// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Chains as tables: (T, 7), a row a transition. Its deterministic step is the ODE of a flow, as that of every named
// dynamics is.

#include <vector>

#include "tables.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow::python {

inline chain chain_of(std::string_view operation, const Tensor& tensor) {
  const transition_table numbers(operation, "chain", tensor);
  const auto steps = numbers.rows();
  if (tensor.dim() != 2 || steps.empty()) {
    throw shape_error(
        detail::message(operation, ": chain has shape ", shape_of(tensor), ", expected (steps, 7)"));
  }
  std::vector<double> sigmas;
  for (const transition& step : steps) {
    if (!sigmas.empty() && step.sigma != (&step)[-1].sigma_next) {
      throw schedule_error(detail::message(operation, ": step ", sigmas.size(),
                                           " of the chain begins at sigma ", step.sigma,
                                           ", the one before ends at ", (&step)[-1].sigma_next));
    }
    sigmas.push_back(step.sigma);
  }
  sigmas.push_back(steps.back().sigma_next);
  return {std::move(sigmas), std::vector<transition>(steps.begin(), steps.end()), ode{}};
}

inline Tensor table_of(std::span<const transition> steps) {
  constexpr index_t columns = sizeof(transition) / sizeof(double);
  const auto* first = reinterpret_cast<const double*>(steps.data());
  return table_of(std::vector<double>(first, first + static_cast<index_t>(steps.size()) * columns), columns);
}

}  // namespace tempflow::python
