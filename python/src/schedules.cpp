// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Operators that make sigma grids and chains.

#include <torch/csrc/stable/library.h>

#include "chains.hpp"
#include "convention.hpp"
#include "tempflow/schedule/clean_transition.hpp"
#include "tempflow/tempflow.hpp"

namespace tempflow::python {
namespace {

/// A model's grid, by the model's name; `tokens` and `shift` where its grid depends on them.
std::vector<double> grid_of(std::string_view model, index_t steps, std::optional<index_t> tokens,
                            std::optional<double> shift) {
  struct grid {
    std::string_view model;
    bool of_tokens, of_shift;
    std::vector<double> (*make)(index_t steps, std::optional<index_t> tokens, std::optional<double> shift);
  };
  using T = std::optional<index_t>;
  using S = std::optional<double>;
  static constexpr grid grids[] = {
      {"sd3", false, true, [](index_t n, T, S s) { return s ? sd3_sigmas(n, *s) : sd3_sigmas(n); }},
      {"flux", true, false, [](index_t n, T t, S) { return t ? flux_sigmas(n, *t) : flux_sigmas(n); }},
      {"flux_2", true, false, [](index_t n, T t, S) { return t ? flux_2_sigmas(n, *t) : flux_2_sigmas(n); }},
      {"qwen_image", true, false,
       [](index_t n, T t, S) { return t ? qwen_image_sigmas(n, *t) : qwen_image_sigmas(n); }},
      {"qwen_image_lightning", false, false, [](index_t n, T, S) { return qwen_image_lightning_sigmas(n); }},
      {"ltx", true, false, [](index_t n, T t, S) { return t ? ltx_sigmas(n, *t) : ltx_sigmas(n); }},
      {"wan", false, true, [](index_t n, T, S s) { return s ? wan_sigmas(n, *s) : wan_sigmas(n); }},
      {"hunyuan_video", false, true,
       [](index_t n, T, S s) { return s ? hunyuan_video_sigmas(n, *s) : hunyuan_video_sigmas(n); }},
      {"shifted_linspace", false, true,
       [](index_t n, T, S s) { return s ? shifted_linspace_sigmas(n, *s) : shifted_linspace_sigmas(n); }}};
  std::string known;
  for (const grid& g : grids) {
    known += detail::message(known.empty() ? "" : ", ", g.model);
    if (g.model != model) continue;
    if ((tokens && !g.of_tokens) || (shift && !g.of_shift)) {
      throw value_error(detail::message("sigmas: the grid of ", model, " does not depend on ",
                                        tokens && !g.of_tokens ? "image_tokens" : "shift"));
    }
    return g.make(steps, tokens, shift);
  }
  throw value_error(detail::message("sigmas: model = '", model, "', must be one of ", known));
}

Tensor sigmas(std::string model, std::int64_t steps, std::optional<std::int64_t> image_tokens,
              std::optional<double> shift) {
  return typed([&] {
    constexpr index_t most = 65533;  // whose chain a plan can be of: noise names its step in 16 bits
    if (steps > most) {
      throw schedule_error(detail::message("sigmas: steps = ", steps, ", must be at most ", most));
    }
    return table_of(grid_of(model, steps, image_tokens, shift));
  });
}

template <class Rule>
chain chain_with(const std::vector<double>& sigmas, const Rule& rule,
                 const std::optional<std::vector<std::int64_t>>& steps) {
  return steps ? tempflow::make_chain(sigmas, rule, as_indices(*steps)) : tempflow::make_chain(sigmas, rule);
}

Tensor make_chain(const Tensor& sigmas, std::string dynamics, std::optional<double> noise_level,
                  std::optional<std::vector<std::int64_t>> stochastic_steps) {
  return typed([&] {
    const table<double> knots("make_chain", "sigmas", sigmas);
    const std::vector<double> grid(knots.values().begin(), knots.values().end());
    const auto made = [&] {
      const auto with = [&](auto rule, double decltype(rule)::*level) {
        if (noise_level) rule.*level = *noise_level;
        return chain_with(grid, rule, stochastic_steps);
      };
      if (dynamics == "flow_sde") return with(flow_sde{}, &flow_sde::noise_level);
      if (dynamics == "flow_cps") return with(flow_cps{}, &flow_cps::noise_level);
      if (dynamics == "dance_sde") return with(dance_sde{}, &dance_sde::eta);
      if (dynamics == "ddim") return with(ddim{}, &ddim::eta);
      if (dynamics == "wan_sde" || dynamics == "ode") {
        if (noise_level) throw value_error(detail::message("make_chain: ", dynamics, " has no noise_level"));
        if (dynamics == "wan_sde") return chain_with(grid, wan_sde::on(grid), stochastic_steps);
        return chain_with(grid, ode{}, stochastic_steps);
      }
      throw value_error(
          detail::message("make_chain: dynamics = '", dynamics,
                          "', must be one of flow_sde, flow_cps, dance_sde, wan_sde, ddim, ode"));
    }();
    return table_of(made.transitions());
  });
}

template <class Make>
Tensor transitions_at(std::string_view operation, const Tensor& sigmas, const Make& make) {
  return typed([&] {
    const table<double> levels(operation, "sigmas", sigmas);
    std::vector<transition> steps;
    for (const double sigma : levels.values()) steps.push_back(make(sigma));
    return table_of(std::span<const transition>(steps));
  });
}

Tensor clean_transitions(const Tensor& sigmas) {
  return transitions_at("clean_transitions", sigmas, clean_transition);
}

Tensor noising_transitions(const Tensor& sigmas) {
  return transitions_at("noising_transitions", sigmas, noising_transition);
}

Tensor trainable_steps(const Tensor& steps) {
  return typed([&] { return table_of(chain_of("trainable_steps", steps).trainable_steps()); });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, CompositeExplicitAutograd, m) {
  m.impl("sigmas", TORCH_BOX(&tempflow::python::sigmas));
}

STABLE_TORCH_LIBRARY_IMPL(tempflow, CPU, m) {
  m.impl("make_chain", TORCH_BOX(&tempflow::python::make_chain));
  m.impl("clean_transitions", TORCH_BOX(&tempflow::python::clean_transitions));
  m.impl("noising_transitions", TORCH_BOX(&tempflow::python::noising_transitions));
  m.impl("trainable_steps", TORCH_BOX(&tempflow::python::trainable_steps));
}
