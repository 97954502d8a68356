// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Objectives by name. The parameters of one are its members of these names, in this order: numbers (two for a clip range)
// and words.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "errors.hpp"
#include "json.hpp"
#include "objectives.hpp"
#include "tempflow/objective/preference_pairs.hpp"
#include "tempflow/objective/sequence_grpo.hpp"

namespace tempflow::python {

/// The words for the values of an enumeration.
template <class E>
struct words;
template <>
struct words<kl_denominator> {
  static constexpr std::pair<std::string_view, kl_denominator> entries[] = {
      {"transition_variance", kl_denominator::transition_variance},
      {"diffusion", kl_denominator::diffusion},
      {"unit", kl_denominator::unit},
      {"velocity", kl_denominator::velocity}};
};
template <>
struct words<matching_weight> {
  static constexpr std::pair<std::string_view, matching_weight> entries[] = {
      {"uniform", matching_weight::uniform},
      {"time", matching_weight::time},
      {"time_squared", matching_weight::time_squared},
      {"huber", matching_weight::huber},
      {"quartic_root", matching_weight::quartic_root}};
};
template <>
struct words<sequence_ratio> {
  static constexpr std::pair<std::string_view, sequence_ratio> entries[] = {
      {"mean", sequence_ratio::mean}, {"mean_of_clipped", sequence_ratio::mean_of_clipped}};
};

/// Calls f(name, member) for each parameter.
template <class Objective, class F>
void each_parameter(Objective& of, const F& f) {
  if constexpr (requires { of.clip; }) f("clip", of.clip);
  if constexpr (requires { of.max_ratio; }) f("max_ratio", of.max_ratio);
  if constexpr (requires { of.ratio; }) f("ratio", of.ratio);
  if constexpr (requires { of.divergence_bound; }) f("divergence_bound", of.divergence_bound);
  if constexpr (requires { of.divergence_over; }) f("divergence_over", of.divergence_over);
  if constexpr (requires { of.mixture; }) f("mixture", of.mixture);
  if constexpr (requires { of.weight; }) f("weight", of.weight);
  if constexpr (requires { of.beta; }) f("beta", of.beta);
  if constexpr (requires { of.advantage_clip; }) f("advantage_clip", of.advantage_clip);
  if constexpr (requires { of.min_weight; }) f("min_weight", of.min_weight);
  if constexpr (requires { of.kl_beta; }) f("kl_beta", of.kl_beta);
  if constexpr (requires { of.kl_over; }) f("kl_over", of.kl_over);
}

/// Calls f(objective) with the one of a name, as the library sets it.
template <class F, class... Objectives>
void find_objective(std::string_view operation, std::string_view name, const F& f,
                    const std::pair<const char*, Objectives>&... known) {
  const auto look_at = [&](const auto& entry) { return name == entry.first && (f(entry.second), true); };
  if ((look_at(known) || ...)) return;
  std::string names;
  ((names += detail::message(names.empty() ? "" : ", ", known.first)), ...);
  throw value_error(detail::message(operation, ": objective = '", name, "', must be one of ", names));
}

/// Those of rows.
template <class F, class... Others>
void with_row_objective(std::string_view operation, std::string_view name, const F& f,
                        const std::pair<const char*, Others>&... others) {
  find_objective(operation, name, f, std::pair("clipped_grpo", clipped_grpo()),
                 std::pair("dual_clipped_grpo", dual_clipped_grpo()), std::pair("grpo_guard", grpo_guard()),
                 std::pair("flow_dppo", flow_dppo()), std::pair("diffusion_nft", diffusion_nft()),
                 std::pair("advantage_weighted_matching", advantage_weighted_matching()), others...);
}

/// Those, and the ones of batches.
template <class F>
void with_any_objective(std::string_view operation, std::string_view name, const F& f) {
  with_row_objective(operation, name, f, std::pair("sequence_grpo", sequence_grpo()),
                     std::pair("preference_pairs", preference_pairs()));
}

/// The next of an objective's parameters.
template <class Value>
const Value& next_parameter(std::string_view operation, const std::vector<Value>& values, std::size_t& at) {
  if (at == values.size()) {
    throw value_error(detail::message(operation, ": the objective has more parameters than ", at));
  }
  return values[at++];
}

/// An objective with parameters from Python.
template <class Objective>
Objective with_parameters(std::string_view operation, Objective of, const std::vector<double>& numbers,
                          const std::vector<std::string>& choices) {
  std::size_t number = 0, word = 0;
  each_parameter(of, [&]<class Member>(std::string_view name, Member& member) {
    const auto next = [&] { return next_parameter(operation, numbers, number); };
    if constexpr (std::is_same_v<Member, double>) {
      member = next();
    } else if constexpr (std::is_same_v<Member, clip_range>) {
      member.low = next(), member.high = next();
    } else {
      member = choice(operation, name, next_parameter(operation, choices, word), words<Member>::entries);
    }
  });
  if (number != numbers.size() || word != choices.size()) {
    throw value_error(detail::message(operation, ": the objective has ", number, " numbers and ", word,
                                      " words, not ", numbers.size(), " and ", choices.size()));
  }
  return of;
}

}  // namespace tempflow::python
