// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Advantages of several rewards, each normalised in its groups before they are added, so that no reward speaks louder
// for having larger numbers:
//
//   z_ki = (R_ki - mean_g R_k) / max(std_g R_k, eps)       of each reward k
//   a_i = sum_k w_k z_ki
//   A_i = a_i / max(std a, eps)                            over all samples; MixGRPO takes A = a
//
// Each z adds up to 0 in its groups, and so a over the batch: its mean need not be taken off, and a dead group keeps
// its zeros. To add rewards first and normalise their sum: weighted_sum and group_advantages.
// Sources: GDPO, arXiv 2601.05242, as Flow-Factory has it (advantage/advantage_processor.py); MixGRPO, arXiv 2507.21802
// (advantage_aggr).

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// One of several rewards: its value for each sample. Refers to them.
struct named_reward {
  std::string name;  ///< for reports and errors
  std::span<const double> values;
  double weight = 1;  ///< 0: reported alone
  /// The value of a sample that the reward says nothing about (flow_grpo: -10). One that is not finite stands for all
  /// that are not. Such a sample enters neither this reward's statistics nor its sum.
  std::optional<double> not_applicable = {};

  bool says_nothing(double value) const {
    if (!not_applicable) return false;
    return is_finite(*not_applicable) ? value == *not_applicable : !is_finite(value);
  }
};

/// What a reward looked like, over the samples that it applies to; NaN where there are none.
struct reward_statistics {
  std::string name;
  index_t samples = 0;         ///< all
  index_t not_applicable = 0;  ///< of them, those that the reward says nothing about
  double mean = not_a_number, std = not_a_number, min = not_a_number, max = not_a_number;
  group_statistics groups = {};  ///< in which it was normalised; `excluded` are all samples that it left out

  /// Share of samples that the reward says nothing about.
  double not_applicable_share() const {
    return samples == 0 ? 0 : static_cast<double>(not_applicable) / static_cast<double>(samples);
  }
};

/// How rewards are normalised and added. The defaults are Flow-Factory's.
struct combination_options {
  /// Of each reward; epsilon, its rule and the estimate of std serve the batch too.
  advantage_options each = {.epsilon = 1e-6, .epsilon_as = epsilon_rule::floor};
  bool normalize_sum = true;  ///< over the batch, at last; false: MixGRPO
};

/// Advantages, and what each reward looked like.
struct combined_advantage_set {
  /// Excluded samples are those that no reward applies to, and those with a reward that is not finite. The moments in
  /// its statistics are those of the sums a.
  advantage_set advantages;
  std::vector<reward_statistics> rewards;
};

namespace detail {

/// Which samples no statistics and no sum are to have. Throws value_error where one is an error.
inline std::vector<char> samples_left_out(std::span<const named_reward> rewards,
                                          not_finite_rewards not_finite,
                                          std::vector<std::vector<double>>& values) {
  const std::size_t count = rewards[0].values.size();
  std::vector<char> applies(count), broken(count);
  for (std::size_t k = 0; k < rewards.size(); ++k) {
    const std::span<const double> given = rewards[k].values;
    values.emplace_back(given.begin(), given.end());
    for (std::size_t i = 0; i < count; ++i) {
      if (rewards[k].says_nothing(given[i])) {
        values[k][i] = not_a_number;
      } else if (is_finite(given[i])) {
        if (rewards[k].weight != 0) applies[i] = 1;
      } else if (not_finite == not_finite_rewards::refuse) {
        throw value_error(message("combined_advantages: reward ", rewards[k].name, " of sample ", i, " = ",
                                  given[i], ", must be finite"));
      } else {
        broken[i] = 1;
      }
    }
  }
  for (std::size_t i = 0; i < count; ++i) applies[i] = applies[i] == 0 || broken[i] != 0 ? 1 : 0;
  return applies;
}

/// Throws value_error for a weight that is not finite, shape_error for sizes that differ.
inline void check_named_rewards(std::span<const named_reward> rewards, std::size_t samples) {
  if (rewards.empty()) throw shape_error("combined_advantages: no rewards");
  for (const named_reward& reward : rewards) {
    if (reward.values.size() != samples) {
      throw shape_error(message("combined_advantages: reward ", reward.name, " has ", reward.values.size(),
                                " samples, groups has ", samples));
    }
    if (!is_finite(reward.weight)) {
      throw value_error(message("combined_advantages: weight of reward ", reward.name, " = ", reward.weight));
    }
  }
  if (samples == 0) throw group_error("combined_advantages: no samples");
}

}  // namespace detail

/// Advantages of several rewards, normalised one by one. rewards, groups: one entry per sample.
///
/// A sample without any reward of weight is excluded: its advantage is 0, and minibatches leave it out. So is one
/// with a reward that is not finite, of whatever weight, if options.each.not_finite says so.
///
/// Throws shape_error for no rewards or sizes that differ; group_error for no samples, no reward that applies to any,
/// a group that options.each refuses, or no group with two samples that a reward applies to; value_error for a reward
/// that is not finite unless these are excluded (naming it), a weight that is not, rewards whose std overflows, and
/// options that group_advantages refuses.
inline combined_advantage_set combined_advantages(std::span<const named_reward> rewards,
                                                  std::span<const std::int64_t> groups,
                                                  const combination_options& options = {}) {
  const std::size_t count = groups.size();
  detail::check_named_rewards(rewards, count);
  detail::check_advantage_options(options.each);
  std::vector<std::vector<double>> values;
  const auto out = detail::samples_left_out(rewards, options.each.not_finite, values);
  advantage_options each = options.each;
  each.not_finite = not_finite_rewards::exclude;
  combined_advantage_set result;
  std::vector<double> sums(count), normalized(count);
  std::vector<index_t> scratch(count);
  bool any = false, compares = count == 1;
  for (std::size_t k = 0; k < rewards.size(); ++k) {
    reward_statistics of{.name = rewards[k].name, .samples = static_cast<index_t>(count)};
    for (std::size_t i = 0; i < count; ++i) {
      if (rewards[k].says_nothing(rewards[k].values[i])) ++of.not_applicable;
      if (out[i] != 0) values[k][i] = not_a_number;
      const double value = values[k][i];
      if (!is_finite(value)) continue;
      if (!is_finite(of.min) || value < of.min) of.min = value;
      if (!is_finite(of.max) || value > of.max) of.max = value;
    }
    if (is_finite(of.min) && !is_finite((of.max - of.min) * (of.max - of.min))) {
      throw value_error(detail::message("combined_advantages: reward ", of.name, " is too far apart, from ",
                                        of.min, " to ", of.max));
    }
    of.groups = detail::write_group_advantages(values[k], groups, each, normalized, scratch,
                                               detail::lone_samples::zero);
    if (is_finite(of.min)) of.mean = of.groups.reward_mean, of.std = of.groups.reward_std;
    any = any || (rewards[k].weight != 0 && of.groups.groups > 0);
    compares = compares || (rewards[k].weight != 0 && of.groups.groups > of.groups.singletons);
    for (std::size_t i = 0; i < count; ++i) {
      if (is_finite(values[k][i])) sums[i] = fused_multiply_add(rewards[k].weight, normalized[i], sums[i]);
    }
    result.rewards.push_back(std::move(of));
  }
  if (!any) {
    throw group_error(detail::message("combined_advantages: no reward of weight applies to any of the ",
                                      count, " samples"));
  }
  if (!compares) {
    throw group_error(detail::message("combined_advantages: no group of the ", count,
                                      " samples has two that a reward applies to: nothing to compare"));
  }
  std::vector<double> counted(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (out[i] != 0) {
      result.advantages.excluded.push_back(static_cast<index_t>(i));
    } else if (!is_finite(sums[i])) {
      throw value_error(detail::message("combined_advantages: the sum of sample ", i, " overflows"));
    }
    counted[i] = out[i] != 0 ? not_a_number : sums[i];
  }
  advantage_options batch{.scale = advantage_scale::none,
                          .std = each.std,
                          .epsilon = each.epsilon,
                          .epsilon_as = each.epsilon_as,
                          .not_finite = not_finite_rewards::exclude};
  result.advantages.values = std::move(sums);
  result.advantages.statistics =
      detail::write_group_advantages(counted, groups, batch, normalized, scratch, detail::lone_samples::zero);
  batch.scale = advantage_scale::global_std;
  const double divisor = detail::advantage_divisor(batch, 0, result.advantages.statistics.reward_std);
  for (double& advantage : result.advantages.values) {
    if (options.normalize_sum && divisor != 0) advantage /= divisor;
  }
  return result;
}

}  // namespace tempflow
