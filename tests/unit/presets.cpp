// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The published hyper-parameters, number by number.

#include "tempflow/training/presets.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/schedule/chain.hpp"

using tempflow::index_t;
using tempflow::preset;

namespace {

std::vector<preset> all() {
  return {tempflow::presets::sd3_5_medium(), tempflow::presets::flux_1_dev(),
          tempflow::presets::qwen_image()};
}

}  // namespace

TEST_CASE("all presets share the rollout, the groups, the objective and the optimiser", "[presets]") {
  for (const auto& p : all()) {
    INFO(p.name);
    CHECK(p.rollout_steps == 10);
    CHECK(p.trained_steps == 9);  // timestep_fraction 0.99
    CHECK(p.explorations == 6);
    CHECK(p.seeds_per_prompt == 4);
    CHECK(p.group_size == 24);
    CHECK(p.group_size == p.seeds_per_prompt * p.explorations);
    CHECK(p.groups == 48);
    CHECK(p.clip == 1e-4);
    CHECK(p.advantage_clip == 5);
    CHECK(p.advantage_epsilon == 1e-4);
    CHECK(p.advantage_scale == tempflow::advantage_scale::group_std);  // global_std = False
    CHECK(p.learning_rate == 3e-4);
    CHECK(p.adam_beta1 == 0.9);
    CHECK(p.adam_beta2 == 0.999);
    CHECK(p.adam_epsilon == 1e-8);
    CHECK(p.weight_decay == 1e-4);
    CHECK(p.max_gradient_norm == 1);
    CHECK(p.ema_decay == 0.9);
    CHECK(p.ema_interval == 8);
  }
}

TEST_CASE("Stable Diffusion 3.5 Medium: 512 px, noise 0.7, guidance 4.5, KL 0.004, EMA, 40 evaluation steps",
          "[presets]") {
  const auto p = tempflow::presets::sd3_5_medium();
  CHECK(p.noise_level == 0.7);
  CHECK(p.guidance == 4.5);
  CHECK(p.kl_beta == 0.004);
  CHECK(p.lora_rank == 32);
  CHECK(p.lora_alpha == 64);
  CHECK(p.use_ema);
  CHECK(p.evaluation_steps == 40);
  CHECK(p.image_tokens == 1024);  // (512 / 8 / 2)^2
  CHECK(p.sigmas() == tempflow::sd3_sigmas(10, 3));
  CHECK(p.evaluation_sigmas() == tempflow::sd3_sigmas(40, 3));
}

TEST_CASE("FLUX.1-dev: 1,024 px, noise 0.9, guidance 3.5, KL 0.004, EMA, 50 evaluation steps", "[presets]") {
  const auto p = tempflow::presets::flux_1_dev();
  CHECK(p.noise_level == 0.9);
  CHECK(p.guidance == 3.5);
  CHECK(p.kl_beta == 0.004);
  CHECK(p.lora_rank == 32);
  CHECK(p.lora_alpha == 64);
  CHECK(p.use_ema);
  CHECK(p.evaluation_steps == 50);
  CHECK(p.image_tokens == 4096);  // (1024 / 8 / 2)^2
  CHECK(p.sigmas() == tempflow::flux_sigmas(10, 4096));
  CHECK(p.evaluation_sigmas() == tempflow::flux_sigmas(50, 4096));
}

TEST_CASE("Qwen-Image: 512 px, noise 1.2, guidance 4, no KL, no EMA, 50 evaluation steps", "[presets]") {
  const auto p = tempflow::presets::qwen_image();
  CHECK(p.noise_level == 1.2);
  CHECK(p.guidance == 4);
  CHECK(p.kl_beta == 0);
  CHECK(p.lora_rank == 64);
  CHECK(p.lora_alpha == 128);
  CHECK_FALSE(p.use_ema);
  CHECK(p.evaluation_steps == 50);
  CHECK(p.image_tokens == 1024);
  CHECK(p.sigmas() == tempflow::qwen_image_sigmas(10, 1024));
  CHECK(p.evaluation_sigmas() == tempflow::qwen_image_sigmas(50, 1024));
}

TEST_CASE("a preset's branching steps are its trained ones, and its chain draws noise there", "[presets]") {
  for (const auto& p : all()) {
    INFO(p.name);
    CHECK(p.branch_steps() == std::vector<index_t>{0, 1, 2, 3, 4, 5, 6, 7, 8});
    const auto steps = tempflow::make_chain(p.sigmas(), p.dynamics(), p.branch_steps());
    CHECK(steps.stochastic_steps() == p.branch_steps());
    CHECK(p.dynamics().noise_level == p.noise_level);
    CHECK(steps[0].std == Approx(p.noise_level).epsilon(1e-14));
  }
}

TEST_CASE("Stable Diffusion 3.5's PickScore configuration differs in its KL alone", "[presets]") {
  const auto p = tempflow::presets::sd3_5_medium_pickscore(), geneval = tempflow::presets::sd3_5_medium();
  CHECK(p.kl_beta == 0.001);
  CHECK(p.sigmas() == geneval.sigmas());
  CHECK(p.noise_level == geneval.noise_level);
  CHECK(p.guidance == geneval.guidance);
  CHECK(p.evaluation_steps == geneval.evaluation_steps);
  CHECK(p.use_ema);
}

TEST_CASE("FLUX.1-dev's PickScore configuration is Flow-GRPO's: 512 px, 6 steps, no KL", "[presets]") {
  const auto p = tempflow::presets::flux_1_dev_pickscore();
  CHECK(p.image_tokens == 1024);  // (512 / 8 / 2)^2
  CHECK(p.rollout_steps == 6);
  CHECK(p.trained_steps == 5);  // timestep_fraction 0.99
  CHECK(p.evaluation_steps == 28);
  CHECK(p.guidance == 3.5);
  CHECK(p.noise_level == 0.9);
  CHECK(p.kl_beta == 0);
  CHECK(p.clip == 1e-4);
  CHECK(p.advantage_scale == tempflow::advantage_scale::global_std);
  CHECK(p.advantages().scale == tempflow::advantage_scale::global_std);
  CHECK(p.learning_rate == 3e-4);
  CHECK(p.group_size == 24);
  CHECK(p.groups == 48);
  CHECK(p.lora_rank == 64);
  CHECK(p.lora_alpha == 128);
  CHECK(p.use_ema);
  CHECK(p.sigmas() == tempflow::flux_sigmas(6, 1024));
  CHECK(tempflow::make_chain(p.sigmas(), p.dynamics())[0].std == Approx(0.9).epsilon(1e-14));
}

TEST_CASE("Wan 2.1's configuration is Flow-GRPO's: UniPC's grid, its own SDE, 4 trajectories", "[presets]") {
  const auto p = tempflow::presets::wan_2_1();
  CHECK(p.image_tokens == ((33 - 1) / 4 + 1) * (240 / 16) * (416 / 16));
  CHECK(p.rollout_steps == 20);
  CHECK(p.trained_steps == 19);  // timestep_fraction 0.99
  CHECK(p.evaluation_steps == 50);
  CHECK(p.guidance == 4.5);
  CHECK(p.clip == 1e-3);
  CHECK(p.advantages().scale == tempflow::advantage_scale::group_std);
  CHECK(p.kl_beta == 0.004);
  CHECK(p.learning_rate == 1e-4);
  CHECK(p.lora_rank == 32);
  CHECK(p.lora_alpha == 64);
  CHECK(p.use_ema);
  CHECK(p.group_size == 4);
  CHECK(p.groups == 4);
  CHECK(p.sigmas() == tempflow::wan_sigmas(20, 3));
  CHECK(p.evaluation_sigmas() == tempflow::wan_sigmas(50, 3));
  const auto steps = tempflow::make_chain(p.sigmas(), p.dynamics(), p.branch_steps());
  CHECK(steps.stochastic_steps() == tempflow::step_range(0, 19));
  CHECK(std::abs(steps[0].std - 0.129) < 5e-4);
  CHECK(p.whole_trajectories().samples_per_prompt == 4);
  CHECK(p.whole_trajectories().steps_on(steps) == tempflow::step_range(0, 19));
  // As a plain preset it has no SDE, and says so.
  const preset plain = p;
  CHECK_THROWS_AS(tempflow::make_chain(plain.sigmas(), plain.dynamics()), tempflow::value_error);
}

TEST_CASE("no step of a preset comes near the end of its stable range", "[presets]") {
  const auto least = [](const tempflow::chain& steps) {
    double alpha = 1;
    for (const auto& step : steps.transitions()) alpha = std::min(alpha, step.alpha);
    return alpha;
  };
  for (const auto& p : {tempflow::presets::sd3_5_medium(), tempflow::presets::flux_1_dev(),
                        tempflow::presets::flux_1_dev_pickscore(), tempflow::presets::qwen_image()}) {
    INFO(p.name);
    CHECK(least(tempflow::make_chain(p.sigmas(), p.dynamics())) > 0.21);
  }
  const auto wan = tempflow::presets::wan_2_1();
  CHECK(least(tempflow::make_chain(wan.sigmas(), wan.dynamics())) > 0.21);
}

TEST_CASE("a preset's plan, advantages, objective and EMA carry its numbers", "[presets]") {
  for (const auto& p : all()) {
    INFO(p.name);
    CHECK(p.branching().seeds_per_prompt == 4);
    CHECK(p.branching().explorations == 6);
    CHECK(p.branching().branch_steps == p.branch_steps());
    CHECK(p.whole_trajectories().samples_per_prompt == 24);
    CHECK(p.whole_trajectories().trained_steps == p.branch_steps());
    CHECK(p.advantages().epsilon == 1e-4);
    CHECK(p.advantages().scale == tempflow::advantage_scale::group_std);
    CHECK(p.advantages().std == tempflow::std_estimate::population);
    CHECK(p.objective().clip.low == 1e-4);
    CHECK(p.objective().clip.high == 1e-4);
    CHECK(p.objective().advantage_clip == 5);
    CHECK(p.objective().kl_beta == p.kl_beta);
    CHECK(p.objective().kl_over == tempflow::kl_denominator::transition_variance);
    CHECK(p.ema().decay == 0.9);
    CHECK(p.ema().interval == 8);
  }
}

TEST_CASE("a preset's numbers may be changed", "[presets]") {
  auto p = tempflow::presets::sd3_5_medium();
  p.rollout_steps = 16;
  CHECK(p.sigmas() == tempflow::sd3_sigmas(16));
}
