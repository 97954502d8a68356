// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A model's sigma grid from its scheduler_config.json, as diffusers makes it. The file is read by whatever reads
// JSON in the host's program; here it is a struct with diffusers' field names and defaults.
// Source: diffusers, FlowMatchEulerDiscreteScheduler.set_timesteps; UniPCMultistepScheduler.set_timesteps.

#include <concepts>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/schedule/detail/checks.hpp"
#include "tempflow/schedule/sigma_points.hpp"
#include "tempflow/schedule/sigmas.hpp"
#include "tempflow/schedule/time_shift.hpp"

namespace tempflow {

/// The fields of scheduler_config.json that a flow model's grid depends on.
struct scheduler_config {
  index_t num_train_timesteps = 1000;
  double shift = 1;  ///< the static shift, where use_dynamic_shifting is false
  bool use_dynamic_shifting = false;
  std::string time_shift_type = "exponential";  ///< of dynamic shifting; or "linear"
  double base_shift = 0.5, max_shift = 1.15;    ///< mu at the two token counts
  index_t base_image_seq_len = 256, max_image_seq_len = 4096;
  std::optional<double> shift_terminal = std::nullopt;  ///< null or 0: not stretched

  // UniPCMultistepScheduler and DPMSolverMultistepScheduler
  bool use_flow_sigmas = false;
  double flow_shift = 1;

  // Grids that are not made here: true is an error.
  bool invert_sigmas = false;
  bool use_karras_sigmas = false, use_exponential_sigmas = false, use_beta_sigmas = false;
};

namespace detail {

inline void check_scheduler(const scheduler_config& config) {
  const std::pair<const char*, bool> refused[] = {
      {"invert_sigmas", config.invert_sigmas},
      {"use_karras_sigmas", config.use_karras_sigmas},
      {"use_exponential_sigmas", config.use_exponential_sigmas},
      {"use_beta_sigmas", config.use_beta_sigmas},
      {"use_dynamic_shifting with use_flow_sigmas", config.use_dynamic_shifting && config.use_flow_sigmas}};
  for (const auto& [field, asked] : refused) {
    if (asked) throw value_error(message("scheduler_config: ", field, " is not supported"));
  }
  if (config.time_shift_type != "exponential" && config.time_shift_type != "linear") {
    throw value_error(message("scheduler_config: time_shift_type = \"", config.time_shift_type,
                              "\", must be \"exponential\" or \"linear\""));
  }
  check_count("scheduler_config: num_train_timesteps", config.num_train_timesteps, 2);
}

}  // namespace detail

/// The grid that a pipeline gets which hands its scheduler points of its own, set_timesteps(sigmas=points, mu=mu):
/// shifted, stretched, and 0 at the end. So do HunyuanVideo's and FLUX.2's, with T points from 1 to 1/T:
///
///   from_scheduler_config(hunyuan_video, linear_points(1, 1.0 / steps, steps))
///   from_scheduler_config(flux_2, linear_points(1, 1.0 / steps, steps), flux_2_mu(image_tokens, steps))
///
/// mu counts only where use_dynamic_shifting is true. Throws value_error for no points and for points that end in 0,
/// which is added here, a config that is not supported, use_flow_sigmas, dynamic shifting without mu, and what the
/// shifts and the stretch throw.
inline std::vector<double> from_scheduler_config(const scheduler_config& config, std::vector<double> points,
                                                 std::optional<double> mu = std::nullopt) {
  detail::check_scheduler(config);
  if (config.use_flow_sigmas) throw value_error("scheduler_config: use_flow_sigmas takes no points");
  if (points.empty()) throw value_error("from_scheduler_config: no points");
  if (points.back() == 0) throw value_error("from_scheduler_config: points end in 0, which is added here");
  if (!config.use_dynamic_shifting) {
    points = static_shift(std::move(points), config.shift);
  } else if (!mu) {
    throw value_error("scheduler_config: use_dynamic_shifting asks for mu");
  } else if (config.time_shift_type == "linear") {
    points = linear_shift(std::move(points), *mu);
  } else {
    points = exponential_shift(std::move(points), *mu);
  }
  if (config.shift_terminal.value_or(0) != 0) {
    points = stretch_to_terminal(std::move(points), *config.shift_terminal);
  }
  return with_final_zero(std::move(points));
}

/// The grid that most diffusers pipelines make of a config: with dynamic shifting, 1 to 1/T with the mu of the config
/// for image_tokens latent patches (FLUX.1, Qwen-Image, LTX-Video); without, the scheduler's own points (SD3), or
/// UniPC's (use_flow_sigmas; Wan). Not HunyuanVideo's and FLUX.2's, whose configs look the same: they have points or
/// a mu of their own, which the overload above takes. Throws value_error for steps < 1, a config that is not
/// supported or has a number that its formula cannot take, and dynamic shifting with image_tokens < 1.
inline std::vector<double> from_scheduler_config(const scheduler_config& config, index_t steps,
                                                 index_t image_tokens = 0) {
  detail::check_scheduler(config);
  detail::check_count("from_scheduler_config: steps", steps, 1);
  if (config.use_flow_sigmas) return wan_sigmas(steps, config.flow_shift, config.num_train_timesteps);
  if (!config.use_dynamic_shifting) {
    const double smallest = static_shift(1 / static_cast<double>(config.num_train_timesteps), config.shift);
    return from_scheduler_config(config, linear_points(1, smallest, steps));
  }
  const dynamic_shift mu{.first_tokens = static_cast<double>(config.base_image_seq_len),
                         .last_tokens = static_cast<double>(config.max_image_seq_len),
                         .first_shift = config.base_shift,
                         .last_shift = config.max_shift};
  return from_scheduler_config(config, linear_points(1, 1 / static_cast<double>(steps), steps),
                               mu(image_tokens));
}

/// Not a mu: it does not say which points it shifts (the scheduler's own go down to 1/1000, FLUX's to 1/T). Hand over
/// both.
template <std::floating_point Mu>
std::vector<double> from_scheduler_config(const scheduler_config& config, index_t steps, Mu mu) = delete;

}  // namespace tempflow
