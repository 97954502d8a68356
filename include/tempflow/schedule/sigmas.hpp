// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Sigma grids exactly as the field's models use them: descending noise levels, T + 1 knots, the last one 0. Each
// is a composition of the parts in schedule/sigma_points.hpp; a model that is not here is as short.

#include <cmath>
#include <string_view>
#include <vector>

#include "tempflow/schedule/detail/checks.hpp"
#include "tempflow/schedule/sigma_points.hpp"
#include "tempflow/schedule/time_shift.hpp"

namespace tempflow {

namespace detail {

/// FLUX's form: 1 to 1/T under the exponential shift, without the final 0.
inline std::vector<double> flux_points(std::string_view grid, index_t steps, double mu) {
  check_count(message(grid, ": steps"), steps, 1);
  return exponential_shift(linear_points(1, 1 / static_cast<double>(steps), steps), mu);
}

}  // namespace detail

/// Stable Diffusion 3: T points from 1 to shift(1/1000), shifted (the tail hence twice, as diffusers does),
/// then 0. Throws value_error for steps < 1, a shift that is not positive or training_timesteps < 2.
/// Source: diffusers, FlowMatchEulerDiscreteScheduler with a static shift of 3.
inline std::vector<double> sd3_sigmas(index_t steps, double shift = 3, index_t training_timesteps = 1000) {
  detail::check_count("sd3_sigmas: steps", steps, 1);
  detail::check_positive("sd3_sigmas: shift", shift);
  detail::check_count("sd3_sigmas: training_timesteps", training_timesteps, 2);
  const double smallest = static_shift(1 / static_cast<double>(training_timesteps), shift);
  return with_final_zero(static_shift(linear_points(1, smallest, steps), shift));
}

/// FLUX.1: 1 to 1/T under the exponential shift for the image's token count (4,096 at 1,024 px), then 0.
/// Throws value_error for steps < 1 and what the shifts throw.
/// Source: diffusers, FluxPipeline.
inline std::vector<double> flux_sigmas(index_t steps, index_t image_tokens = 4096, dynamic_shift shift = {}) {
  return with_final_zero(detail::flux_points("flux_sigmas", steps, shift(image_tokens)));
}

/// FLUX.2: FLUX.1's form with a mu of tokens and steps (flux_2_mu). Throws value_error for steps or image_tokens
/// < 1.
/// Source: diffusers, Flux2Pipeline.
inline std::vector<double> flux_2_sigmas(index_t steps, index_t image_tokens = 4096) {
  detail::check_count("flux_2_sigmas: steps", steps, 1);
  return with_final_zero(detail::flux_points("flux_2_sigmas", steps, flux_2_mu(image_tokens, steps)));
}

/// Qwen-Image: FLUX's form with (256, 0.5) to (8192, 0.9), then stretched so that the last knot before 0 is
/// `terminal`. Throws value_error for steps < 1, image_tokens < 1 or a terminal outside (0, 1).
/// Source: diffusers, QwenImagePipeline, stretch_shift_to_terminal.
inline std::vector<double> qwen_image_sigmas(index_t steps, index_t image_tokens = 1024,
                                             double terminal = 0.02) {
  const dynamic_shift shift{.first_tokens = 256, .last_tokens = 8192, .first_shift = 0.5, .last_shift = 0.9};
  return with_final_zero(
      stretch_to_terminal(detail::flux_points("qwen_image_sigmas", steps, shift(image_tokens)), terminal));
}

/// Qwen-Image-Lightning, distilled to 4 or 8 steps: FLUX's form with mu = log 3 at any token count, not
/// stretched. Throws value_error for steps < 1.
/// Source: ModelTC/Qwen-Image-Lightning, generate_with_diffusers.py, scheduler_config.
inline std::vector<double> qwen_image_lightning_sigmas(index_t steps = 8) {
  return with_final_zero(detail::flux_points("qwen_image_lightning_sigmas", steps, std::log(3.0)));
}

/// LTX-Video: FLUX's form with (1024, 0.95) to (4096, 2.05), stretched to 0.1. video_tokens: latent patches of all
/// frames. Throws value_error for steps < 1, video_tokens < 1 or a terminal outside (0, 1).
/// Source: diffusers, LTXPipeline; Lightricks/LTX-Video, scheduler_config.json.
inline std::vector<double> ltx_sigmas(index_t steps, index_t video_tokens = 4096, double terminal = 0.1) {
  const dynamic_shift shift{
      .first_tokens = 1024, .last_tokens = 4096, .first_shift = 0.95, .last_shift = 2.05};
  return with_final_zero(
      stretch_to_terminal(detail::flux_points("ltx_sigmas", steps, shift(video_tokens)), terminal));
}

/// Wan 2.1 and 2.2: T + 1 points from 999/1000 to 0 under the static shift, 3 at 480p and 5 at 720p. The first
/// knot is .9997 or .9998, not 1. Throws value_error for steps < 1, a shift that is not positive or
/// training_timesteps < 2.
/// Source: diffusers, WanPipeline; UniPCMultistepScheduler with use_flow_sigmas and flow_shift.
inline std::vector<double> wan_sigmas(index_t steps, double shift = 3, index_t training_timesteps = 1000) {
  detail::check_count("wan_sigmas: steps", steps, 1);
  detail::check_positive("wan_sigmas: shift", shift);
  detail::check_count("wan_sigmas: training_timesteps", training_timesteps, 2);
  return static_shift(linear_points(1 - 1 / static_cast<double>(training_timesteps), 0, steps + 1), shift);
}

/// T + 1 points from 1 to 0 under the static shift: DanceGRPO and MixGRPO; HunyuanVideo with a shift of 7. Throws
/// value_error for steps < 1 or a shift that is not positive.
/// Source: DanceGRPO fastvideo/train_grpo_flux.py, sd3_time_shift; diffusers, HunyuanVideoPipeline.
inline std::vector<double> shifted_linspace_sigmas(index_t steps, double shift = 3) {
  detail::check_count("shifted_linspace_sigmas: steps", steps, 1);
  detail::check_positive("shifted_linspace_sigmas: shift", shift);
  return static_shift(linear_points(1, 0, steps + 1), shift);
}

/// HunyuanVideo: shifted_linspace_sigmas with its shift of 7, whose errors it throws.
/// Source: diffusers, HunyuanVideoPipeline; hunyuanvideo-community/HunyuanVideo, scheduler_config.json.
inline std::vector<double> hunyuan_video_sigmas(index_t steps, double shift = 7) {
  return shifted_linspace_sigmas(steps, shift);
}

}  // namespace tempflow
