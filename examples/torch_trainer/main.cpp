// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// TempFlow-GRPO on the LoRA of a traced transformer of diffusers, without Python: torch_trainer tiny.pt

#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>
#include <torch/script.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tempflow/interop/torch_loss.hpp>
#include <tempflow/interop/torch_model.hpp>
#include <tempflow/interop/torch_threads.hpp>
#include <tempflow/tempflow.hpp>

namespace tf = tempflow;

namespace {

struct settings {
  std::string module, output;
  int updates = 24, seed = 1, threads = 1;
};

/// Throws std::invalid_argument for what the user can mend.
settings read(int count, char** arguments) {
  settings chosen;
  const auto number = [](std::string_view name, std::string_view text) {
    int value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc() || end != text.data() + text.size() || value < (name == "--seed" ? 0 : 1)) {
      throw std::invalid_argument(std::string(name) + " " + std::string(text) + ": expected a count");
    }
    return value;
  };
  for (int i = 1; i < count; ++i) {
    const std::string_view name = arguments[i];
    if (!name.starts_with("--") && chosen.module.empty()) {
      chosen.module = name;
      continue;
    }
    const std::string_view value = ++i < count ? arguments[i] : "";
    if (name == "--updates")
      chosen.updates = number(name, value);
    else if (name == "--seed")
      chosen.seed = number(name, value);
    else if (name == "--threads")
      chosen.threads = number(name, value);
    else if (name == "--output" && !value.empty())
      chosen.output = value;
    else
      throw std::invalid_argument("no argument " + std::string(name));
  }
  if (chosen.module.empty()) {
    throw std::invalid_argument(
        "usage: torch_trainer MODULE.pt [--updates N] [--seed N] [--threads N] [--output FILE.safetensors]");
  }
  return chosen;
}

/// What trains: the module's tensors that require grad, their optimiser, and their average over updates.
class lora {
 public:
  lora(const torch::jit::Module& module, const tf::preset& numbers)
      : numbers_(numbers), named_(found(module)), optimiser_(values(), of(numbers)) {
    for (const at::Tensor& weight : values()) averages_.push_back(weight.detach().clone());
  }

  /// One step on the gradients that were accumulated. Their norm.
  template <class Backend>
  double step(const Backend& backend) {
    const double norm = torch::nn::utils::clip_grad_norm_(values(), numbers_.max_gradient_norm);
    optimiser_.step();
    optimiser_.zero_grad();
    if (const auto decay = numbers_.ema().at(steps_++)) {
      for (std::size_t i = 0; i < averages_.size(); ++i) {
        const auto size = static_cast<std::size_t>(averages_[i].numel());
        tf::ema_update(backend, std::span<float>(averages_[i].data_ptr<float>(), size),
                       std::span<const float>(named_[i].second.data_ptr<float>(), size), *decay);
      }
    }
    return norm;
  }

  /// The averages, as a file for diffusers' load_lora_weights.
  void save(const std::string& path) const {
    std::string header = "{";
    std::size_t end = 0;
    for (std::size_t i = 0; i < averages_.size(); ++i) {
      const std::size_t begin = std::exchange(end, end + averages_[i].nbytes());
      header += (i > 0 ? ",\"" : "\"") + named_[i].first + "\":{\"dtype\":\"F32\",\"shape\":[" +
                c10::Join(",", averages_[i].sizes()) + "],\"data_offsets\":[" + std::to_string(begin) + "," +
                std::to_string(end) + "]}";
    }
    header += "}";
    const std::uint64_t size =
        header.size();  // the format wants it little-endian, as this machine's numbers are
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&size), sizeof size) << header;
    for (const at::Tensor& average : averages_) {
      file.write(static_cast<const char*>(average.data_ptr()),
                 static_cast<std::streamsize>(average.nbytes()));
    }
    if (!file.flush()) throw std::runtime_error("cannot write " + path);
  }

 private:
  using named_tensors = std::vector<std::pair<std::string, at::Tensor>>;

  static named_tensors found(const torch::jit::Module& module) {
    named_tensors trained;
    for (const auto& parameter : module.named_parameters()) {
      if (!parameter.value.requires_grad()) continue;
      if (parameter.value.scalar_type() != at::kFloat)
        throw std::runtime_error(parameter.name + " is not fp32");
      std::string name =
          parameter.name;  // transformer.(...).lora_A.default.weight, of peft's adapter "default"
      if (const auto at = name.find(".default."); at != name.npos) name.erase(at, 8);
      trained.emplace_back(std::move(name), parameter.value);
    }
    if (trained.empty()) throw std::runtime_error("nothing in the module requires grad: is LoRA in it?");
    return trained;
  }

  std::vector<at::Tensor> values() const {
    std::vector<at::Tensor> tensors;
    for (const auto& [name, value] : named_) tensors.push_back(value);
    return tensors;
  }

  static torch::optim::AdamWOptions of(const tf::preset& numbers) {
    return torch::optim::AdamWOptions(numbers.learning_rate)
        .betas({numbers.adam_beta1, numbers.adam_beta2})
        .eps(numbers.adam_epsilon)
        .weight_decay(numbers.weight_decay);
  }

  tf::preset numbers_;
  named_tensors named_;
  std::vector<at::Tensor> averages_;
  torch::optim::AdamW optimiser_;
  tf::index_t steps_ = 0;
};

/// Your reward. Here: how bright the first channel is, from 0 to 1.
std::vector<double> reward(const at::Tensor& samples) {
  const at::Tensor scores = samples.select(1, 0).sigmoid().flatten(1).mean(1).to(at::kDouble);
  return {scores.data_ptr<double>(), scores.data_ptr<double>() + scores.numel()};
}

void train(const settings& chosen) {
  at::set_num_threads(chosen.threads);
  torch::jit::Module module = torch::jit::load(chosen.module);
  const auto given = [&](const char* name) { return module.attr(name).toTensor().detach(); };
  tf::preset numbers = tf::presets::sd3_5_medium();
  numbers.rollout_steps = 6, numbers.trained_steps = 5;    // a small model,
  numbers.learning_rate = 6e-3, numbers.ema_interval = 1;  // and a short run
  numbers.kl_beta = 0;

  const at::Tensor text = given("text");
  const std::vector<std::int64_t> shape = given("sample").sizes().vec();
  auto model = tf::torch_model<float>(
      tf::module_network(module),
      tf::torch_conditioning<2>{{text, given("pooled")}, {given("no_text"), given("no_pooled")}},
      {.shape = shape,
       .timestep_scale = 1000,
       .guidance = tf::guidance_rule::linear,
       .guidance_scale = numbers.guidance});
  std::vector<tf::index_t> prompts;
  for (tf::index_t prompt = 0; prompt < text.size(0); ++prompt) prompts.push_back(prompt);

  const auto backend = tf::torch_backend();
  const auto chain = tf::make_chain(numbers.sigmas(), numbers.dynamics());
  lora policy(module, numbers);
  const auto began = std::chrono::steady_clock::now();
  for (int update = 0; update < chosen.updates; ++update) {
    const tf::noise_key key{static_cast<std::uint32_t>(chosen.seed), static_cast<std::uint32_t>(update)};
    auto rollout = tf::roll_out(backend, model, prompts, chain, numbers.branching(), key);
    const auto rewards = reward(tf::tensor_of(rollout.samples(), shape, 0));
    const auto advantages = tf::group_advantages(rewards, rollout.prompt_groups(), numbers.advantages());
    const auto weights = tf::noise_aware_weights(chain, rollout.trained_steps());
    auto batches = tf::minibatches(rollout, advantages, weights, {.size = 16, .shuffle = key});
    const auto drift = tf::rescore(backend, model, batches);  // 0 where training computes as the rollout did
    double norm = 0, log_ratio = 0;
    for (const auto& batch : batches) {
      const auto [loss, statistics] =
          tf::policy_loss(backend, batch, model.forward(batch), at::Tensor(), numbers.objective());
      loss.backward();
      log_ratio = std::max(log_ratio, statistics.max_abs_log_ratio);
      if (batch.completes_update) norm = policy.step(backend);
    }
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began;
    std::printf("update %d/%d  reward %.4f  drift %.1g  log-ratio %.1g  gradient %.3f  %.0f s, %.0f s left\n",
                update + 1, chosen.updates, advantages.statistics.reward_mean, drift.max_abs, log_ratio, norm,
                passed.count(), passed.count() / (update + 1) * (chosen.updates - update - 1));
    std::fflush(stdout);
  }
  if (!chosen.output.empty()) policy.save(chosen.output);
}

}  // namespace

int main(int count, char** arguments) try {
  train(read(count, arguments));
} catch (const c10::Error& problem) {
  std::fprintf(stderr, "torch_trainer: %s\n", problem.what_without_backtrace());
  return 1;
} catch (const std::invalid_argument& problem) {
  std::fprintf(stderr, "torch_trainer: %s\n", problem.what());
  return 2;
} catch (const std::exception& problem) {
  std::fprintf(stderr, "torch_trainer: %s\n", problem.what());
  return 1;
}
