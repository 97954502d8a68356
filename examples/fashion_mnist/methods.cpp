// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
// The methods of the field, as a table. docs/methods.md has their formulas and sources.
#include "methods.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "plans.hpp"

namespace fashion {

namespace tf = tempflow;

namespace {

tf::transition flow_sde(double level, const tf::sigma_step& at) { return tf::flow_sde{level}(at); }
tf::transition dance_sde(double level, const tf::sigma_step& at) { return tf::dance_sde{level}(at); }
tf::transition no_noise(double, const tf::sigma_step& at) { return tf::ode{}(at); }

/// An objective that is clipped, with the settings that all of these have.
template <class Objective>
objective clipped(const options& o) {
  Objective loss{};
  loss.clip = {o.clip, o.clip};
  loss.advantage_clip = o.advantage_clip;
  loss.kl_beta = o.kl_beta;
  return loss;
}

constexpr method table[] = {
    {.name = "tempflow-grpo",
     .summary = "TempFlow-GRPO: branches off an ODE trunk, so that a reward credits one step",
     .recommended = [](options&) {},
     .noise = flow_sde,
     .plan = branches,
     .compares = credit::siblings,  // with --groups prompt, all seeds of a prompt
     .loss = clipped<tf::clipped_grpo>,
     .draws_siblings = true},

    {.name = "flow-grpo",
     .summary = "Flow-GRPO: whole trajectories, one reward for all of their steps",
     .recommended = [](options& o) { trajectories_of(o, 32, 3e-3, 0.6); },
     .noise = flow_sde,
     .plan = trajectories,
     .compares = credit::prompt,
     .loss = clipped<tf::clipped_grpo>},

    {.name = "flow-grpo-fast",
     .summary =
         "Flow-GRPO-Fast: two noisy steps somewhere in the first half, and an ODE prefix that is shared",
     .recommended =
         [](options& o) {
           trajectories_of(o, 80, 3e-3, 0.6);
           o.weights = "uniform", o.trained_steps = 5, o.window = 2;
         },
     .noise = flow_sde,
     .plan = split_at_window,
     .compares = credit::prompt,
     .loss = clipped<tf::clipped_grpo>,
     .draws_siblings = true},

    {.name = "dance-grpo",
     .summary = "DanceGRPO: noise of constant strength, one initial noise for the samples of a prompt",
     .recommended =
         [](options& o) {
           trajectories_of(o, 32, 3e-3, 0.6);
           o.weights = "uniform", o.shared_noise = true, o.optimizer_steps = 1;
         },
     .noise = dance_sde,
     .plan = trajectories,
     .compares = credit::prompt,
     .loss = clipped<tf::clipped_grpo>},

    {.name = "mix-grpo",
     .summary = "MixGRPO: four noisy steps in a window that slides from noise to data, the ODE elsewhere",
     .recommended = [](options& o) { sliding(o); },
     .noise = dance_sde,
     .plan = trajectories,
     .compares = credit::prompt,
     .loss = clipped<tf::clipped_grpo>},

    {.name = "mix-grpo-flash",
     .summary = "MixGRPO-Flash: the same, with a few steps of second order behind the window",
     .recommended = [](options& o) { sliding(o); },
     .noise = dance_sde,
     .plan = short_tails,
     .compares = credit::prompt,
     .loss = clipped<tf::clipped_grpo>},

    {.name = "branch-grpo",
     .summary = "BranchGRPO: binary trees, a transition's reward is the mean of its leaves",
     .recommended =
         [](options& o) {
           trajectories_of(o, 32, 3e-3, 0.6);
           o.weights = "uniform", o.seeds = 2, o.explorations = 2, o.advantage_scale = "group";
         },
     .noise = dance_sde,
     .plan = trees,
     .compares = credit::depth,
     .loss = clipped<tf::clipped_grpo>,
     .draws_siblings = true},

    {.name = "grpo-guard",
     .summary = "GRPO-Guard: a ratio that is centred and has the same spread at every step",
     .recommended =
         [](options& o) {
           trajectories_of(o, 32, 3e-3, 0.6);
           o.weights = "guard", o.clip = 5e-4;
         },
     .noise = flow_sde,
     .plan = trajectories,
     .compares = credit::prompt,
     .loss = clipped<tf::grpo_guard>},

    {.name = "dppo",
     .summary = "Flow-DPPO: no clip; rows whose KL from the old policy is large may only come back",
     .recommended =
         [](options& o) {
           trajectories_of(o, 32, 3e-3, 0.6);
           o.weights = "uniform", o.clip = 5e-5;
         },
     .noise = flow_sde,
     .plan = trajectories,
     .compares = credit::prompt,
     .loss = [](const options& o) -> objective {
       return tf::flow_dppo{
           .divergence_bound = o.clip, .advantage_clip = o.advantage_clip, .kl_beta = o.kl_beta};
     }},

    {.name = "gspo",
     .summary = "GSPO: one ratio for all steps of a sample, the geometric mean of theirs",
     .recommended =
         [](options& o) {
           trajectories_of(o, 32, 3e-3, 0.6);
           o.weights = "uniform", o.clip = 7e-4;
         },
     .noise = flow_sde,
     .plan = trajectories,
     .compares = credit::prompt,
     .loss = clipped<tf::sequence_grpo>},

    {.name = "nft",
     .summary = "DiffusionNFT: finished samples noised again, a policy to approach and one to leave",
     .recommended = [](options& o) { finished_samples(o, 32, 1e-3, 0.6); },
     .noise = no_noise,
     .plan = ode_samples,
     .compares = credit::prompt,
     .loss = [](const options& o) -> objective {
       return tf::diffusion_nft{.advantage_clip = o.advantage_clip, .kl_beta = o.kl_beta};
     },
     .forward_process = true,
     .old_decay = [](int update) { return std::min(0.001 * update, 0.5); }},

    {.name = "awm",
     .summary = "AWM: finished samples noised again, the flow-matching loss in place of a log-prob",
     .recommended = [](options& o) { finished_samples(o, 32, 1e-3, 0.6), o.clip = 3e-2; },
     .noise = no_noise,
     .plan = ode_samples,
     .compares = credit::prompt,
     .loss = clipped<tf::advantage_weighted_matching>,
     .forward_process = true},
};

}  // namespace

std::span<const method> methods() { return table; }

const method* find_method(std::string_view name) {
  const auto found =
      std::ranges::find_if(table, [&](const method& m) { return std::string_view(m.name) == name; });
  return found == std::end(table) ? nullptr : found;
}

const method& method_named(std::string_view name) {
  if (const method* found = find_method(name)) return *found;
  throw std::invalid_argument("no method is called " + std::string(name));
}

}  // namespace fashion
