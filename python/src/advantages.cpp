// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Operators beside the loss, on the host: advantages, timestep weights, the decay of an average.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "chains.hpp"
#include "convention.hpp"
#include "tables.hpp"
#include "tempflow/tempflow.hpp"

namespace tempflow::python {
namespace {

/// Options of the estimators, by name.
advantage_options options_of(std::string_view operation, std::string_view scale,
                             std::string_view std_estimate, double epsilon, std::string_view epsilon_rule,
                             std::string_view not_finite, std::string_view baseline, double min_std,
                             index_t group_size) {
  using rule = tempflow::epsilon_rule;
  using estimate = tempflow::std_estimate;
  static constexpr std::pair<std::string_view, advantage_scale> scales[] = {
      {"group_std", advantage_scale::group_std},
      {"global_std", advantage_scale::global_std},
      {"none", advantage_scale::none}};
  static constexpr std::pair<std::string_view, estimate> estimates[] = {{"population", estimate::population},
                                                                        {"sample", estimate::sample}};
  static constexpr std::pair<std::string_view, rule> rules[] = {{"add", rule::add}, {"floor", rule::floor}};
  static constexpr std::pair<std::string_view, not_finite_rewards> choices[] = {
      {"refuse", not_finite_rewards::refuse}, {"exclude", not_finite_rewards::exclude}};
  static constexpr std::pair<std::string_view, advantage_baseline> baselines[] = {
      {"group_mean", advantage_baseline::group_mean}, {"others_mean", advantage_baseline::others_mean}};
  return {.scale = choice(operation, "scale", scale, scales),
          .std = choice(operation, "std", std_estimate, estimates),
          .epsilon = epsilon,
          .epsilon_as = choice(operation, "epsilon_rule", epsilon_rule, rules),
          .not_finite = choice(operation, "not_finite", not_finite, choices),
          .baseline = choice(operation, "baseline", baseline, baselines),
          .min_std = min_std,
          .group_size = group_size};
}

/// The fields of group_statistics, in order: eleven numbers.
std::vector<double> numbers_of(const group_statistics& s) {
  const auto number = [](index_t n) { return static_cast<double>(n); };
  return {number(s.samples),         number(s.excluded),      number(s.groups),
          number(s.smallest_group),  number(s.largest_group), number(s.singletons),
          number(s.zero_std_groups), s.reward_mean,           s.reward_std,
          s.group_std_mean,          number(s.dead_groups)};
}

/// Advantages, the samples that were excluded, and statistics.
std::tuple<Tensor, Tensor, Tensor> tensors_of(const advantage_set& set) {
  return {table_of(set.values), table_of(set.excluded), table_of(numbers_of(set.statistics))};
}

/// With a trim, trimmed_advantages.
std::tuple<Tensor, Tensor, Tensor> group_advantages(const Tensor& rewards, const Tensor& groups,
                                                    std::string scale, std::string std_estimate,
                                                    double epsilon, std::string epsilon_rule,
                                                    std::string not_finite, std::string baseline,
                                                    double min_std, std::int64_t group_size,
                                                    std::optional<double> trim) {
  return typed([&] {
    const auto* const operation = trim ? "trimmed_advantages" : "group_advantages";
    const table<double> values(operation, "rewards", rewards);
    const table<std::int64_t> ids(operation, "groups", groups);
    const advantage_options options = options_of(operation, scale, std_estimate, epsilon, epsilon_rule,
                                                 not_finite, baseline, min_std, group_size);
    return tensors_of(trim ? tempflow::trimmed_advantages(values.values(), ids.values(), *trim, options)
                           : tempflow::group_advantages(values.values(), ids.values(), options));
  });
}

/// rewards: K x N in a row. not_applicable: a mark for each reward, where its entry of has_mark is not 0. Also statistics of each
/// reward: (K, 17), the fields of reward_statistics but its name.
std::tuple<Tensor, Tensor, Tensor, Tensor> combined_advantages(
    const Tensor& rewards, const Tensor& groups, std::vector<std::string> names, std::vector<double> weights,
    std::vector<double> not_applicable, std::vector<std::int64_t> has_mark, bool normalize_sum,
    std::string scale, std::string std_estimate, double epsilon, std::string epsilon_rule,
    std::string not_finite, std::string baseline, double min_std, std::int64_t group_size) {
  return typed([&] {
    constexpr auto operation = "combined_advantages";
    const table<std::int64_t> ids(operation, "groups", groups);
    const auto samples = static_cast<index_t>(ids.values().size());
    const table<double> values(operation, "rewards", rewards);
    const std::size_t count = names.size();
    detail::check_size(operation, "weights", weights.size(), static_cast<index_t>(count));
    detail::check_size(operation, "rewards", values.values().size(), static_cast<index_t>(count) * samples);
    detail::check_size(operation, "not_applicable", not_applicable.size(), static_cast<index_t>(count));
    detail::check_size(operation, "has_mark", has_mark.size(), static_cast<index_t>(count));
    std::vector<named_reward> given;
    for (std::size_t k = 0; k < count; ++k) {
      const auto first = static_cast<std::size_t>(samples) * k;
      given.push_back({names[k], values.values().subspan(first, static_cast<std::size_t>(samples)),
                       weights[k], has_mark[k] != 0 ? std::optional(not_applicable[k]) : std::nullopt});
    }
    const combined_advantage_set set = tempflow::combined_advantages(
        given, ids.values(),
        {.each = options_of(operation, scale, std_estimate, epsilon, epsilon_rule, not_finite, baseline,
                            min_std, group_size),
         .normalize_sum = normalize_sum});
    std::vector<double> each;
    for (const reward_statistics& of : set.rewards) {
      each.insert(each.end(), {static_cast<double>(of.samples), static_cast<double>(of.not_applicable),
                               of.mean, of.std, of.min, of.max});
      const auto in_groups = numbers_of(of.groups);
      each.insert(each.end(), in_groups.begin(), in_groups.end());
    }
    const auto [advantages, excluded, statistics] = tensors_of(set.advantages);
    return std::tuple(advantages, excluded, statistics, table_of(each, 17));
  });
}

/// Advantages as above, and the state from then on.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> running_advantages(
    std::int64_t state_window, const Tensor& prompts, const Tensor& counts, const Tensor& numbers,
    const Tensor& rewards, const Tensor& of_prompts, std::int64_t window, std::int64_t warm_up,
    std::string std_estimate, double epsilon, std::string epsilon_rule, std::string not_finite) {
  return typed([&] {
    constexpr auto operation = "running_advantages";
    const advantage_options named = options_of(operation, "group_std", std_estimate, epsilon, epsilon_rule,
                                               not_finite, "group_mean", 0, 0);
    const table<std::int64_t> known(operation, "state.prompts", prompts),
        sizes(operation, "state.counts", counts), ids(operation, "prompts", of_prompts);
    const table<double> kept(operation, "state.numbers", numbers), values(operation, "rewards", rewards);
    const auto vector_of = [](auto span) { return std::vector(span.begin(), span.end()); };
    tempflow::running_advantages running({.window = window,
                                          .warm_up = warm_up,
                                          .std = named.std,
                                          .epsilon = named.epsilon,
                                          .epsilon_as = named.epsilon_as,
                                          .not_finite = named.not_finite},
                                         {.window = state_window,
                                          .prompts = vector_of(known.values()),
                                          .counts = vector_of(as_indices(sizes.values())),
                                          .numbers = vector_of(kept.values())});
    const auto [advantages, excluded, statistics] =
        tensors_of(running.take_up(values.values(), ids.values()));
    const running_state now = running.state();
    return std::tuple(advantages, excluded, statistics, table_of(now.prompts), table_of(now.counts),
                      table_of(now.numbers));
  });
}

Tensor win_rates(const Tensor& groups, const Tensor& preferences) {
  return typed([&] {
    constexpr auto operation = "win_rates";
    const table<std::int64_t> ids(operation, "groups", groups);
    const table<double> of_pairs(operation, "preferences", preferences);
    return table_of(tempflow::win_rates(ids.values(), of_pairs.values()));
  });
}

Tensor win_rates_of_scores(const Tensor& scores, const Tensor& groups) {
  return typed([&] {
    constexpr auto operation = "win_rates_of_scores";
    return table_of(tempflow::win_rates_of_scores(table<double>(operation, "scores", scores).values(),
                                                  table<std::int64_t>(operation, "groups", groups).values()));
  });
}

/// Chosen samples and the rest.
std::tuple<Tensor, Tensor> best_and_worst(const Tensor& scores, const Tensor& groups, std::int64_t count,
                                          bool exclude_not_finite) {
  return typed([&] {
    constexpr auto operation = "best_and_worst";
    const table<double> values(operation, "scores", scores);
    const table<std::int64_t> ids(operation, "groups", groups);
    const sample_selection selection = tempflow::best_and_worst(
        values.values(), ids.values(), count,
        exclude_not_finite ? not_finite_rewards::exclude : not_finite_rewards::refuse);
    return std::tuple(table_of(selection.chosen), table_of(selection.rest));
  });
}

Tensor dead_group_samples(const Tensor& advantages, const Tensor& groups) {
  return typed([&] {
    return table_of(
        tempflow::dead_group_samples(table<double>("dead_group_samples", "advantages", advantages).values(),
                                     table<std::int64_t>("dead_group_samples", "groups", groups).values()));
  });
}

Tensor timestep_weights(const Tensor& chain, std::vector<std::int64_t> trained_steps, std::string form,
                        std::string over) {
  return typed([&] {
    constexpr auto operation = "timestep_weights";
    using normalization = weight_normalization;
    static constexpr std::pair<std::string_view, normalization> normalizations[] = {
        {"trained_steps", normalization::trained_steps},
        {"all_steps", normalization::all_steps},
        {"none", normalization::none}};
    const tempflow::chain steps = chain_of(operation, chain);
    const auto trained = as_indices(trained_steps);
    const auto scale = choice(operation, "over", over, normalizations);
    enum class formula { uniform, noise_aware, flat_gradient, inverse_dt, langevin };
    static constexpr std::pair<std::string_view, formula> forms[] = {
        {"uniform", formula::uniform},
        {"noise_aware", formula::noise_aware},
        {"flat_gradient", formula::flat_gradient},
        {"guard", formula::inverse_dt},
        {"guard_langevin", formula::langevin}};
    switch (choice(operation, "form", form, forms)) {
      case formula::uniform:
        detail::check_weighted_steps(operation, steps, trained);
        return table_of(uniform_weights(steps));
      case formula::noise_aware: return table_of(noise_aware_weights(steps, trained, scale));
      case formula::flat_gradient: return table_of(flat_gradient_weights(steps, trained, scale));
      case formula::inverse_dt:
        return table_of(guard_weights(steps, trained, guard_weight::inverse_dt, scale));
      case formula::langevin: return table_of(guard_weights(steps, trained, guard_weight::langevin, scale));
    }
    return table_of(std::vector<double>());
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
  m.impl("combined_advantages", TORCH_BOX(&tempflow::python::combined_advantages));
  m.impl("running_advantages", TORCH_BOX(&tempflow::python::running_advantages));
  m.impl("win_rates", TORCH_BOX(&tempflow::python::win_rates));
  m.impl("win_rates_of_scores", TORCH_BOX(&tempflow::python::win_rates_of_scores));
  m.impl("best_and_worst", TORCH_BOX(&tempflow::python::best_and_worst));
  m.impl("dead_group_samples", TORCH_BOX(&tempflow::python::dead_group_samples));
  m.impl("timestep_weights", TORCH_BOX(&tempflow::python::timestep_weights));
}

STABLE_TORCH_LIBRARY_IMPL(tempflow, CompositeExplicitAutograd, m) {
  m.impl("ema_decay", TORCH_BOX(&tempflow::python::ema_decay));
}
