// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The operator that gives out published hyper-parameters, as JSON.

#include <torch/csrc/stable/library.h>

#include "errors.hpp"
#include "json.hpp"
#include "tempflow/tempflow.hpp"

namespace tempflow::python {
namespace {

std::string json_of(const preset& p) {
  json_object json;
  json.add("name", p.name);
  json.add("sigmas", p.sigmas());
  json.add("evaluation_sigmas", p.evaluation_sigmas());
  json.add("image_tokens", p.image_tokens);
  json.add("rollout_steps", p.rollout_steps);
  json.add("trained_steps", p.trained_steps);
  json.add("evaluation_steps", p.evaluation_steps);
  json.add("guidance", p.guidance);
  json.add("noise_level", p.noise_level);
  json.add("explorations", p.explorations);
  json.add("seeds_per_prompt", p.seeds_per_prompt);
  json.add("group_size", p.group_size);
  json.add("groups", p.groups);
  json.add("clip", p.clip);
  json.add("advantage_clip", p.advantage_clip);
  json.add("advantage_epsilon", p.advantage_epsilon);
  json.add("advantage_scale", p.advantage_scale == advantage_scale::group_std ? std::string_view("group_std")
                              : p.advantage_scale == advantage_scale::global_std
                                  ? std::string_view("global_std")
                                  : std::string_view("none"));
  json.add("kl_beta", p.kl_beta);
  json.add("learning_rate", p.learning_rate);
  json.add("adam_beta1", p.adam_beta1);
  json.add("adam_beta2", p.adam_beta2);
  json.add("adam_epsilon", p.adam_epsilon);
  json.add("weight_decay", p.weight_decay);
  json.add("max_gradient_norm", p.max_gradient_norm);
  json.add("lora_rank", p.lora_rank);
  json.add("lora_alpha", p.lora_alpha);
  json.add("use_ema", p.use_ema);
  json.add("ema_decay", p.ema_decay);
  json.add("ema_interval", p.ema_interval);
  return json.text();
}

std::string preset_of(std::string name) {
  return typed([&] {
    static constexpr std::pair<std::string_view, preset (*)()> known[] = {
        {"sd3_5_medium", presets::sd3_5_medium}, {"sd3_5_medium_pickscore", presets::sd3_5_medium_pickscore},
        {"flux_1_dev", presets::flux_1_dev},     {"flux_1_dev_pickscore", presets::flux_1_dev_pickscore},
        {"qwen_image", presets::qwen_image},     {"wan_2_1", [] { return preset(presets::wan_2_1()); }}};
    return json_of(choice("preset", "name", name, known)());
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, CompositeExplicitAutograd, m) {
  m.impl("preset", TORCH_BOX(&tempflow::python::preset_of));
}
