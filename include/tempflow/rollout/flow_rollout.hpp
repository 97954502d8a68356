// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Flow-GRPO's rollout: every stochastic step of the chain draws noise, and one reward credits all of them. On
// a chain with a window of stochastic steps this is MixGRPO's and Flow-GRPO-Fast's rollout. Source:
// Flow-GRPO, arXiv 2505.05470, section 4; MixGRPO, arXiv 2507.21802.

#include <algorithm>
#include <span>
#include <vector>

#include "tempflow/ops/step.hpp"
#include "tempflow/rollout/detail/rollout.hpp"
#include "tempflow/rollout/rollout_cost.hpp"
#include "tempflow/rollout/trajectories.hpp"
#include "tempflow/rollout/velocity_model.hpp"

namespace tempflow {

/// What to roll out. Plain data; every field has the published default.
struct flow_plan {
  index_t samples_per_prompt = 24;
  std::vector<index_t> trained_steps = {};  ///< ascending, stochastic; empty: the chain's trainable_steps()
  index_t max_batch = 0;  ///< rows the model takes in a call; 0: any. Never changes a result
  log_prob_convention convention = {};

  /// The trained steps on a chain.
  std::vector<index_t> steps_on(const chain& steps) const {
    return trained_steps.empty() ? steps.trainable_steps() : trained_steps;
  }

  /// Throws value_error for counts that make no sense, schedule_error for trained steps that are none, do not
  /// ascend or draw no noise.
  void validate(const chain& steps) const {
    if (samples_per_prompt < 1 || max_batch < 0) {
      throw value_error(detail::message("flow_plan: samples_per_prompt = ", samples_per_prompt,
                                        ", max_batch = ", max_batch));
    }
    const auto trained = steps_on(steps);
    if (trained.empty()) throw schedule_error("flow_plan: no trained steps on this chain");
    check_step_list(trained, steps.steps());
    for (const index_t i : trained) {
      if (!steps[i].stochastic()) {
        throw schedule_error(detail::message("flow_plan: trained step ", i, " draws no noise (std = 0)"));
      }
    }
  }

  /// Cost for `prompts` prompts of samples of `dimension` elements of `element_size` bytes. Throws as
  /// validate does, and value_error for counts that are not positive or overflow.
  rollout_cost cost(const chain& steps, index_t prompts, index_t dimension = 0,
                    index_t element_size = 4) const {
    validate(steps);
    detail::check_rollout_size("flow_plan", prompts, samples_per_prompt, 3 * steps.steps(), dimension,
                               element_size);
    const index_t samples = prompts * samples_per_prompt;
    const auto trained = static_cast<index_t>(steps_on(steps).size());
    const index_t calls = steps.steps() * detail::calls_for(samples, max_batch);
    return {.model_evaluations = samples * steps.steps(),
            .model_calls = calls,
            .sequential_calls = calls,
            .samples = samples,
            .bytes = samples * ((2 * trained + 1) * dimension * element_size +
                                trained * static_cast<index_t>(sizeof(double))),
            .working_bytes = 3 * samples * dimension * element_size};
  }
};

/// Samples each prompt's trajectories along the chain.
///
/// prompts: distinct ids in [0, 2^32). Samples come in the order (prompt, seed); rows in the order (step,
/// prompt, seed). Results do not depend on max_batch or the thread count with a model whose rows do not
/// depend on their batch.
///
/// Throws value_error, schedule_error, shape_error or group_error for a plan, model or prompts that make no
/// sense, before the model is called; exceptions of the model pass through.
template <backend B, velocity_model M>
TEMPFLOW_HIDDEN trajectories_of<B, M> flow_rollout(const B& backend, M& model,
                                                   std::span<const index_t> prompts, const chain& steps,
                                                   const flow_plan& plan, noise_key key) {
  using T = typename M::value_type;
  plan.validate(steps);
  detail::check_prompts("flow_rollout", prompts);
  detail::check_dimension("flow_rollout", model.dimension());
  static_cast<void>(plan.cost(steps, static_cast<index_t>(prompts.size()), model.dimension(), sizeof(T)));
  detail::check_chain_length("flow_rollout", steps.steps());

  const auto trained = plan.steps_on(steps);
  const index_t samples = static_cast<index_t>(prompts.size()) * plan.samples_per_prompt;
  const index_t dimension = model.dimension();
  trajectory_data<T, buffer_of<B, T>> result{.steps = steps, .key = key, .convention = plan.convention};
  std::vector<noise_id> ids;
  std::vector<index_t> prompt_of;
  for (const index_t prompt : prompts) {
    for (index_t seed = 0; seed < plan.samples_per_prompt; ++seed) {
      ids.push_back(detail::initial_noise(prompt, seed));
      prompt_of.push_back(prompt);
      result.identities.push_back({.prompt = prompt, .seed = seed});
    }
  }
  result.states = make_buffer<T>(backend, 2 * static_cast<index_t>(trained.size()) * samples, dimension);
  result.log_probs.resize(trained.size() * ids.size());
  detail::log_prob_store<B> log_probs(backend, result.log_probs);
  auto x = make_buffer<T>(backend, samples, dimension), v = x.like(samples, dimension),
       y = x.like(samples, dimension);
  std::vector<double> sigmas(ids.size());
  fill_noise(backend, {key, ids}, x);

  for (index_t j = 0; j < steps.steps(); ++j) {
    std::ranges::fill(sigmas, steps[j].sigma);
    detail::evaluate(model, x.view(), sigmas, prompt_of, v.view(), plan.max_batch);
    const bool is_trained = std::ranges::binary_search(trained, j);
    if (steps[j].stochastic()) {
      for (auto& id : ids) id.step = static_cast<std::uint16_t>(j);
      step(backend, x, v, steps[j], {key, ids}, y,
           is_trained ? log_probs.part(static_cast<index_t>(result.table.size()), samples)
                      : std::span<double>(),
           plan.convention);
    } else {
      ode_step(backend, x, v, steps[j], y);
    }
    if (is_trained) {
      const auto first = 2 * static_cast<index_t>(result.table.size());  // x and y of each row so far
      copy_rows(backend, x, result.states.view().slice(first, samples));
      copy_rows(backend, y, result.states.view().slice(first + samples, samples));
      for (index_t i = 0; i < samples; ++i) {
        result.table.push_back({.x = first + i, .y = first + samples + i, .step = j, .sample = i});
      }
    }
    std::swap(x, y);
  }
  result.samples = std::move(x);
  log_probs.fetch();
  return trajectories_of<B, M>(std::move(result));
}

}  // namespace tempflow
