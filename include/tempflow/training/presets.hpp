// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Published hyper-parameters. Of TempFlow-GRPO: config/dgx.py of Shredded-Pork/TempFlow-GRPO (geneval_sd3_pr,
// pickscore_sd3_pr, flux_pr, pickscore_qwenimage_pr), scripts/train_*_pr.py for the adapters, the paper's appendix,
// and the authors' answers on the noise levels (0.7, 0.9, 1.2). Of Flow-GRPO, for what TempFlow-GRPO has not
// published: config/grpo.py of yifan123/flow_grpo (pickscore_flux, general_ocr_wan2_1), config/base.py,
// scripts/train_flux.py and train_wan2_1.py.

#include <string_view>
#include <vector>

#include "tempflow/advantage/advantage_options.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/schedule/dynamics.hpp"
#include "tempflow/schedule/sigmas.hpp"
#include "tempflow/schedule/window.hpp"
#include "tempflow/training/ema.hpp"

namespace tempflow {

/// Everything a run of one model needs to know besides the model. Plain data: change any field. The defaults are
/// TempFlow-GRPO's.
struct preset {
  std::string_view name;

  // Sampling
  std::vector<double> (*make_sigmas)(index_t steps, index_t image_tokens);
  index_t image_tokens;        ///< tokens of a training image (latent patches)
  index_t rollout_steps = 10;  ///< T of a rollout
  index_t trained_steps =
      9;  ///< leading steps that branch and train; the last step's density is near-singular
  index_t evaluation_steps;  ///< T of an evaluation
  double guidance;           ///< classifier-free guidance scale
  double noise_level;        ///< a of flow_sde; NaN where the SDE has none

  // Branching and groups
  index_t explorations = 6;      ///< K stochastic branches per step
  index_t seeds_per_prompt = 4;  ///< initial noises per prompt
  index_t group_size = 24;       ///< seeds_per_prompt * explorations samples per prompt and step
  index_t groups = 48;           ///< prompts per update; of wan_2_1, per GPU and epoch of two updates

  // Objective
  double clip = 1e-4;
  double advantage_clip = 5;
  double advantage_epsilon = 1e-4;
  tempflow::advantage_scale advantage_scale = tempflow::advantage_scale::group_std;
  double kl_beta;

  // Optimiser (AdamW on LoRA adapters)
  double learning_rate = 3e-4;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8, weight_decay = 1e-4;
  double max_gradient_norm = 1;
  index_t lora_rank = 32, lora_alpha = 64;

  // EMA of the weights
  bool use_ema = true;
  double ema_decay = 0.9;
  index_t ema_interval = 8;  ///< optimiser steps between EMA updates

  /// Sigma grid of a rollout.
  std::vector<double> sigmas() const { return make_sigmas(rollout_steps, image_tokens); }

  /// Sigma grid of an evaluation.
  std::vector<double> evaluation_sigmas() const { return make_sigmas(evaluation_steps, image_tokens); }

  /// The SDE of a rollout.
  flow_sde dynamics() const { return {.noise_level = noise_level}; }

  /// Steps that branch and are trained: 0 to trained_steps - 1.
  std::vector<index_t> branch_steps() const { return step_range(0, trained_steps); }

  /// The rollout, the advantages, the objective and the EMA with these numbers.
  branch_plan branching() const {
    return {
        .seeds_per_prompt = seeds_per_prompt, .explorations = explorations, .branch_steps = branch_steps()};
  }
  /// Flow-GRPO's rollout instead: a group of whole trajectories per prompt.
  flow_plan whole_trajectories() const {
    return {.samples_per_prompt = group_size, .trained_steps = branch_steps()};
  }
  advantage_options advantages() const { return {.scale = advantage_scale, .epsilon = advantage_epsilon}; }
  clipped_grpo objective() const {
    return {.clip = {clip, clip}, .advantage_clip = advantage_clip, .kl_beta = kl_beta};
  }
  ema_schedule ema() const { return {.decay = ema_decay, .interval = ema_interval}; }
};

/// A run of a Wan model, whose SDE has no noise level.
struct wan_preset : preset {
  /// The SDE of a rollout, from its grid.
  wan_sde dynamics() const { return wan_sde::on(sigmas()); }
};

namespace presets {

/// Stable Diffusion 3.5 Medium at 512 px, GenEval reward: true classifier-free guidance.
inline preset sd3_5_medium() {
  return {.name = "SD3.5-M",
          .make_sigmas = [](index_t steps, index_t) { return sd3_sigmas(steps); },
          .image_tokens = 1024,
          .evaluation_steps = 40,
          .guidance = 4.5,
          .noise_level = 0.7,
          .kl_beta = 0.004};
}

/// Stable Diffusion 3.5 Medium at 512 px, PickScore reward: a weaker pull to the reference.
inline preset sd3_5_medium_pickscore() {
  preset numbers = sd3_5_medium();
  numbers.name = "SD3.5-M, PickScore";
  numbers.kl_beta = 0.001;
  return numbers;
}

/// FLUX.1-dev at 1,024 px, HPSv3 reward: guidance is embedded, one forward pass.
inline preset flux_1_dev() {
  return {.name = "FLUX.1-dev",
          .make_sigmas = [](index_t steps, index_t tokens) { return flux_sigmas(steps, tokens); },
          .image_tokens = 4096,
          .evaluation_steps = 50,
          .guidance = 3.5,
          .noise_level = 0.9,
          .kl_beta = 0.004};
}

/// FLUX.1-dev at 512 px, PickScore reward: 6 steps, no KL, advantages over the std of all rewards. Flow-GRPO's
/// numbers; that the 24 samples of a group are 4 noises by 6 branches is TempFlow-GRPO's.
inline preset flux_1_dev_pickscore() {
  preset numbers = flux_1_dev();
  numbers.name = "FLUX.1-dev, PickScore";
  numbers.image_tokens = 1024;
  numbers.rollout_steps = 6;
  numbers.trained_steps = 5;
  numbers.evaluation_steps = 28;
  numbers.kl_beta = 0;
  numbers.advantage_scale = advantage_scale::global_std;
  numbers.lora_rank = 64;
  numbers.lora_alpha = 128;
  return numbers;
}

/// Qwen-Image at 512 px, PickScore reward: norm-preserving guidance, no KL, no EMA.
inline preset qwen_image() {
  return {.name = "Qwen-Image",
          .make_sigmas = [](index_t steps, index_t tokens) { return qwen_image_sigmas(steps, tokens); },
          .image_tokens = 1024,
          .evaluation_steps = 50,
          .guidance = 4,
          .noise_level = 1.2,
          .kl_beta = 0,
          .lora_rank = 64,
          .lora_alpha = 128,
          .use_ema = false};
}

/// Wan 2.1 T2V 1.3B, 33 frames at 416 x 240 px (9 x 15 x 26 patches), reward of readable text. Flow-GRPO's numbers:
/// 4 whole trajectories per prompt (whole_trajectories()), each of an initial noise of its own, and per GPU and epoch
/// 4 prompts.
inline wan_preset wan_2_1() {
  return {{.name = "Wan 2.1",
           .make_sigmas = [](index_t steps, index_t) { return wan_sigmas(steps); },
           .image_tokens = 3510,
           .rollout_steps = 20,
           .trained_steps = 19,
           .evaluation_steps = 50,
           .guidance = 4.5,
           .noise_level = not_a_number,
           .explorations = 1,
           .seeds_per_prompt = 4,
           .group_size = 4,
           .groups = 4,
           .clip = 1e-3,
           .kl_beta = 0.004,
           .learning_rate = 1e-4}};
}

}  // namespace presets
}  // namespace tempflow
