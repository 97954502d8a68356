// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Every operator, torch.ops.tempflow.*. tempflow/*.py say what they mean; implementations lie beside their kind.

#include <torch/csrc/stable/library.h>

#include "backend.hpp"
#include "tempflow/config_summary.hpp"

namespace {

std::string instruction_set() {
  using namespace tempflow;
  return to_string((*python::backend_on()).instructions());
}

std::string summary() { return tempflow::config_summary(); }

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(tempflow, m) {
  m.def("config_summary() -> str");
  m.def("instruction_set() -> str");

  // schedules.cpp, presets.cpp
  m.def("sigmas(str model, int steps, int? image_tokens, float? shift) -> Tensor");
  m.def("make_chain(Tensor sigmas, str dynamics, float? noise_level, int[]? stochastic_steps) -> Tensor");
  m.def("trainable_steps(Tensor chain) -> Tensor");
  m.def("clean_transitions(Tensor sigmas) -> Tensor");
  m.def("noising_transitions(Tensor sigmas) -> Tensor");
  m.def("preset(str name) -> str");

  // plans.cpp
  m.def(R"(branch_forest(Tensor chain, int seeds_per_prompt, int explorations, int[] branch_steps,
      int[] completion_steps, str completion_solver, bool finish_trunk, bool antithetic,
      bool shared_noise, int first_seed, bool redraw) -> (Tensor, Tensor))");
  m.def(R"(flow_forest(Tensor chain, int samples_per_prompt, int[] trained_steps, bool shared_noise,
      str solver, bool antithetic, int first_seed, bool redraw) -> (Tensor, Tensor))");
  m.def(R"(tree_forest(Tensor chain, int trees_per_prompt, int children, int[] split_steps,
      int[] trained_steps, bool antithetic, int first_seed, bool redraw) -> (Tensor, Tensor))");
  m.def("draw_ids(Tensor chain, Tensor nodes, int[] prompts, int node) -> Tensor");
  m.def(R"(rollout_tables(Tensor chain, Tensor nodes, int[] prompts, bool antithetic,
      bool redraw) -> (Tensor, Tensor))");
  m.def("groups(Tensor chain, Tensor nodes, int[] prompts, str of) -> Tensor");
  m.def(R"(fused_rewards(Tensor chain, Tensor nodes, int[] prompts, Tensor log_probs, Tensor rewards,
      str fusion, bool exclude_not_finite) -> Tensor)");
  m.def(R"(minibatch_tables(Tensor chain, Tensor nodes, int[] prompts, bool redraw, Tensor advantages,
      Tensor weights, int size, int updates, int[]? shuffle, bool of_rows, bool skip_zeros,
      int[] left_out) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor))");
  m.def(R"(cost(Tensor chain, Tensor nodes, int prompts, int dimension, int element_size,
      int max_batch) -> Tensor)");

  // steps.cpp
  m.def(R"(fill_noise(Tensor(a!) out, Tensor ids, int seed, int update, bool antithetic,
      int first_element) -> ())");
  m.def(R"(step(Tensor x, Tensor v, Tensor transitions, Tensor ids, int seed, int update,
      bool antithetic, int first_element, Tensor? mask, bool scored, str reduction,
      str terms) -> (Tensor, Tensor))");
  m.def("ode_step(Tensor x, Tensor v, Tensor transitions, Tensor? mask) -> Tensor");
  m.def(R"(branch_step(Tensor x, Tensor v, Tensor? trunk_transitions, Tensor branch_transitions,
      Tensor ids, int explorations, int seed, int update, bool antithetic, int first_element,
      Tensor? mask, str reduction, str terms) -> (Tensor, Tensor, Tensor))");
  m.def(R"(log_prob(Tensor x, Tensor v, Tensor y, Tensor? mask, Tensor? offsets, Tensor transitions,
      str reduction, str terms) -> Tensor)");

  // advantages.cpp
  m.def(R"(group_advantages(Tensor rewards, Tensor groups, str scale, str std, float epsilon,
      str epsilon_rule, str not_finite, str baseline, float min_std, int group_size,
      float? trim) -> (Tensor, Tensor, Tensor))");
  m.def(R"(combined_advantages(Tensor rewards, Tensor groups, str[] names, float[] weights,
      float[] not_applicable, int[] has_mark, bool normalize_sum, str scale, str std, float epsilon,
      str epsilon_rule, str not_finite, str baseline, float min_std,
      int group_size) -> (Tensor, Tensor, Tensor, Tensor))");
  m.def(R"(running_advantages(int state_window, Tensor prompts, Tensor counts, Tensor numbers, Tensor rewards,
      Tensor of_prompts, int window, int warm_up, str std, float epsilon, str epsilon_rule,
      str not_finite) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor))");
  m.def("win_rates(Tensor groups, Tensor preferences) -> Tensor");
  m.def("win_rates_of_scores(Tensor scores, Tensor groups) -> Tensor");
  m.def(R"(best_and_worst(Tensor scores, Tensor groups, int count,
      bool exclude_not_finite) -> (Tensor, Tensor))");
  m.def("dead_group_samples(Tensor advantages, Tensor groups) -> Tensor");
  m.def("timestep_weights(Tensor chain, int[] trained_steps, str form, str over) -> Tensor");

  // losses.cpp, sums.cpp, objective.cpp
  m.def(R"(policy_loss(Tensor v, Tensor x, Tensor? y, Tensor? v_ref, Tensor? v_old, Tensor? mask,
      Tensor? offsets, Tensor transitions, Tensor? old_log_probs, Tensor advantages, Tensor weights,
      Tensor? ids, int seed, int update, bool antithetic, str objective, float[] numbers,
      str[] choices, str reduction, str terms, int mean_over,
      bool without_zeros) -> (Tensor, Tensor, Tensor))");
  m.def(R"(policy_sums(Tensor v, Tensor x, Tensor y, Tensor? v_ref, Tensor? v_old, Tensor? mask,
      Tensor? offsets, Tensor transitions, float mixture) -> Tensor)");
  m.def(R"(policy_scores(Tensor sums, Tensor transitions, Tensor? offsets, Tensor? old_log_probs,
      Tensor? advantages, Tensor weights, Tensor? sequences, Tensor? pairs,
      str objective, float[] numbers, str[] choices, str reduction, str terms,
      int mean_over) -> (Tensor, Tensor))");
  m.def(R"(policy_gradient(Tensor v, Tensor x, Tensor y, Tensor? v_ref, Tensor? v_old, Tensor? mask,
      Tensor? offsets, Tensor transitions, Tensor factors) -> Tensor)");
  m.def("objective_defaults(str objective) -> str");
  m.def(R"(log_prob_gradient(Tensor v, Tensor x, Tensor y, Tensor? mask, Tensor? offsets,
      Tensor transitions, Tensor factors, str reduction, str terms) -> (Tensor, Tensor))");
  m.def(R"(clipped_surrogate(Tensor log_probs, Tensor old_log_probs, Tensor advantages, Tensor weights,
      float clip_low, float clip_high, float advantage_clip) -> (Tensor, Tensor))");
  m.def("policy_statistics(Tensor rows, float kl_beta, float mean_over) -> Tensor");

  // drift.cpp
  m.def("drift_by_step(Tensor rows, Tensor steps, int count) -> Tensor");
  m.def(R"(corrected_weights(Tensor log_ratios, Tensor? sequences, float? truncate, float? keep_low,
      float? keep_high, str ratios) -> (Tensor, int, int))");

  // guidance.cpp
  m.def("guide(Tensor conditional, Tensor unconditional, Tensor scale, int channels) -> Tensor");
  m.def(R"(guide_gradient(Tensor gradient, Tensor? conditional, Tensor? unconditional, Tensor scale,
      int channels, bool of_conditional, bool of_unconditional) -> (Tensor, Tensor))");

  // averages.cpp, advantages.cpp
  m.def("ema_update(Tensor(a!) average, Tensor weights, float decay) -> ()");
  m.def("ema_decay(float decay, int interval, int n) -> float");
}

STABLE_TORCH_LIBRARY_IMPL(tempflow, CompositeExplicitAutograd, m) {
  m.impl("config_summary", TORCH_BOX(&summary));
  m.impl("instruction_set", TORCH_BOX(&instruction_set));
}
