// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Operators beside the loss, on the host: group advantages, timestep weights, the decay of an average.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "chains.hpp"
#include "convention.hpp"
#include "tempflow/tempflow.hpp"
#include "tensors.hpp"

namespace tempflow::python {
namespace {

/// Advantages; the samples that were excluded; and the fields of group_statistics, in order: eleven numbers.
std::tuple<Tensor, Tensor, Tensor> group_advantages(const Tensor& rewards, const Tensor& groups,
                                                    std::string scale, std::string std_estimate,
                                                    double epsilon, std::string epsilon_rule,
                                                    std::string not_finite, std::int64_t group_size) {
  return typed([&] {
    constexpr auto operation = "group_advantages";
    using rule = tempflow::epsilon_rule;
    using estimate = tempflow::std_estimate;
    static constexpr std::pair<std::string_view, advantage_scale> scales[] = {
        {"group_std", advantage_scale::group_std},
        {"global_std", advantage_scale::global_std},
        {"none", advantage_scale::none}};
    static constexpr std::pair<std::string_view, estimate> estimates[] = {
        {"population", estimate::population}, {"sample", estimate::sample}};
    static constexpr std::pair<std::string_view, rule> rules[] = {{"add", rule::add}, {"floor", rule::floor}};
    static constexpr std::pair<std::string_view, not_finite_rewards> choices[] = {
        {"refuse", not_finite_rewards::refuse}, {"exclude", not_finite_rewards::exclude}};
    const table<double> values(operation, "rewards", rewards);
    const table<std::int64_t> ids(operation, "groups", groups);
    const advantage_set set = tempflow::group_advantages(
        values.values(), ids.values(),
        advantage_options{.scale = choice(operation, "scale", scale, scales),
                          .std = choice(operation, "std", std_estimate, estimates),
                          .epsilon = epsilon,
                          .epsilon_as = choice(operation, "epsilon_rule", epsilon_rule, rules),
                          .not_finite = choice(operation, "not_finite", not_finite, choices),
                          .group_size = group_size});
    const group_statistics& s = set.statistics;
    const auto number = [](index_t n) { return static_cast<double>(n); };
    return std::tuple(
        table_of(set.values), table_of(set.excluded),
        table_of<double>({number(s.samples), number(s.excluded), number(s.groups), number(s.smallest_group),
                          number(s.largest_group), number(s.singletons), number(s.zero_std_groups),
                          s.reward_mean, s.reward_std, s.group_std_mean, number(s.dead_groups)}));
  });
}

Tensor teaching_nothing(const Tensor& advantages, const Tensor& groups) {
  return typed([&] {
    return table_of(
        tempflow::teaching_nothing(table<double>("teaching_nothing", "advantages", advantages).values(),
                                   table<std::int64_t>("teaching_nothing", "groups", groups).values()));
  });
}

Tensor timestep_weights(const Tensor& chain, std::vector<std::int64_t> trained_steps, bool over_all_steps) {
  return typed([&] {
    return table_of(noise_aware_weights(
        chain_of("timestep_weights", chain), as_indices(trained_steps),
        over_all_steps ? weight_normalization::all_steps : weight_normalization::trained_steps));
  });
}

/// The decay after optimiser step n; NaN where the average stays.
double ema_decay(double decay, std::int64_t interval, std::int64_t n) {
  return typed(
      [&] { return ema_schedule{.decay = decay, .interval = interval}.at(n).value_or(not_a_number); });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, CPU, m) {
  m.impl("group_advantages", TORCH_BOX(&tempflow::python::group_advantages));
  m.impl("teaching_nothing", TORCH_BOX(&tempflow::python::teaching_nothing));
  m.impl("timestep_weights", TORCH_BOX(&tempflow::python::timestep_weights));
}

STABLE_TORCH_LIBRARY_IMPL(tempflow, CompositeExplicitAutograd, m) {
  m.impl("ema_decay", TORCH_BOX(&tempflow::python::ema_decay));
}
