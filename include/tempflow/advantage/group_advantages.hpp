// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Group-relative advantages: how much better a sample did than its group.
//
//   A_i = (R_i - mean_g R) / (std R + eps)         g the group of sample i, named by an integer id
//
// A group may be a prompt (Flow-GRPO), a prompt and step, or a prompt, seed and step (TempFlow-GRPO's seed
// group: siblings share prompt, initial noise and trunk state, so the group mean is a baseline for that very
// state). Sources: GRPO, arXiv 2402.03300; flow_grpo/stat_tracking.py; TempFlow-GRPO, arXiv 2508.04324.

#include <cstdint>
#include <span>
#include <vector>

#include "tempflow/advantage/advantage_options.hpp"
#include "tempflow/advantage/detail/groups.hpp"
#include "tempflow/advantage/detail/moments.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// What the groups looked like. Samples whose reward was excluded count in `samples` and in the sizes of groups alone.
struct group_statistics {
  index_t samples = 0;
  index_t excluded = 0;         ///< of them, those whose reward is not finite
  index_t groups = 0;           ///< that have a sample whose reward counts
  index_t smallest_group = 0;   ///< samples of the smallest group
  index_t largest_group = 0;    ///< samples of the largest group
  index_t singletons = 0;       ///< groups of one sample whose reward counts: its advantage is 0
  index_t zero_std_groups = 0;  ///< of two and more equal rewards, or a std below min_std: advantages of 0
  double reward_mean = 0;       ///< over all samples
  double reward_std = 0;        ///< over all samples, by the chosen estimate
  double group_std_mean = 0;    ///< mean over groups of the std within, by the chosen estimate
  index_t dead_groups = 0;      ///< whose advantages are all 0, those without a reward that counts too

  /// Share of the zero_std_groups. All that teach nothing: dead_groups.
  double zero_std_share() const {
    return groups == 0 ? 0 : static_cast<double>(zero_std_groups) / static_cast<double>(groups);
  }
};

/// Advantages in the order of the rewards.
struct advantage_set {
  std::vector<double> values;
  group_statistics statistics;
  /// Samples whose reward is not finite, ascending. Their advantage is 0, which alone would not keep them out of a KL
  /// and of means: minibatches of the whole set leave them out, those of `values` do not.
  std::vector<index_t> excluded = {};

  operator std::span<const double>() const { return values; }
};

namespace detail {

inline void check_advantage_options(const advantage_options& options) {
  if (!is_finite(options.epsilon) || options.epsilon < 0) {
    throw value_error(message("group_advantages: epsilon = ", options.epsilon, ", must not be negative"));
  }
  if (!is_finite(options.min_std) || options.min_std < 0) {
    throw value_error(message("group_advantages: min_std = ", options.min_std, ", must not be negative"));
  }
  if (options.group_size < 0) {
    throw value_error(
        message("group_advantages: group_size = ", options.group_size, ", must not be negative"));
  }
}

/// What centred rewards are divided by.
TEMPFLOW_HD inline double advantage_divisor(const advantage_options& options, double group_std,
                                            double global_std) {
  if (options.scale == advantage_scale::none) return 1;
  const double std = options.scale == advantage_scale::group_std ? group_std : global_std;
  if (options.epsilon_as == epsilon_rule::add) return std + options.epsilon;
  return std > options.epsilon ? std : options.epsilon;
}

/// The advantage of a sample whose group has these moments.
TEMPFLOW_HD inline double advantage_of(const advantage_options& options, double reward,
                                       const reward_moments& siblings, double divisor) {
  const bool excluded = options.not_finite == not_finite_rewards::exclude && !is_finite(reward);
  if (excluded || siblings.constant || divisor == 0) return 0.0;
  const double centred = reward - siblings.mean;
  if (options.baseline == advantage_baseline::group_mean) return centred / divisor;
  const auto n = static_cast<double>(siblings.count);
  return centred * (n / (n - 1)) / divisor;
}

/// Whether a group has two rewards that are finite.
template <class Place>
bool any_siblings(std::span<const double> rewards, std::span<const std::int64_t> groups, const Place& place) {
  bool found = false;
  for_each_group(groups, place, [&](std::size_t first, std::size_t last) {
    index_t counted = 0;
    for (std::size_t i = first; i < last && !found; ++i) {
      if (is_finite(rewards[place(i)])) found = ++counted == 2;
    }
  });
  return found;
}

/// Whether samples of which none has another to compare with are an error.
enum class lone_samples { refused, zero };

/// group_advantages of rewards that are looked at and extents that fit. Throws before anything is written.
/// moments_of(group, count, reward): what a group's reward(0), ..., reward(count - 1) are compared with.
template <class MomentsOf>
group_statistics write_group_advantages(std::span<const double> rewards, std::span<const std::int64_t> groups,
                                        const advantage_options& options, std::span<double> advantages,
                                        std::span<index_t> scratch, lone_samples lone,
                                        const MomentsOf& moments_of) {
  const std::size_t count = rewards.size();
  const auto all = moments(
      count, [&](std::size_t i) { return rewards[i]; }, options);
  if (!is_finite(all.mean) || !is_finite(all.std)) {
    throw value_error(message("group_advantages: rewards are too far apart, their mean is ", all.mean,
                              " and their std ", all.std));
  }
  if (lone == lone_samples::refused && all.count == 0) {
    throw group_error(message("group_advantages: none of the ", count, " rewards is finite"));
  }
  group_statistics statistics{.samples = static_cast<index_t>(count),
                              .excluded = static_cast<index_t>(count - all.count),
                              .reward_mean = all.mean,
                              .reward_std = all.std};
  by_group(groups, scratch, [&](const auto& place) {
    const group_sizes sizes = sizes_of_groups(groups, place, options);
    statistics.smallest_group = sizes.smallest;
    statistics.largest_group = sizes.largest;
    const bool compares =
        sizes.largest > 1 && (statistics.excluded == 0 || any_siblings(rewards, groups, place));
    if (lone == lone_samples::refused && count > 1 && !compares) {
      throw group_error(message("group_advantages: no group of the ", count,
                                " samples has two finite rewards: nothing to compare"));
    }
    for_each_group(groups, place, [&](std::size_t first, std::size_t last) {
      const reward_moments siblings = moments_of(groups[place(first)], last - first,
                                                 [&](std::size_t i) { return rewards[place(first + i)]; });
      const double divisor = advantage_divisor(options, siblings.std, all.std);
      bool dead = true;
      for (std::size_t i = first; i < last; ++i) {
        const std::size_t at = place(i);
        advantages[at] = advantage_of(options, rewards[at], siblings, divisor);
        dead = dead && advantages[at] == 0;
      }
      if (dead) ++statistics.dead_groups;
      if (siblings.count == 0) return;
      ++statistics.groups;
      statistics.group_std_mean += siblings.std;
      if (siblings.constant) ++(siblings.count == 1 ? statistics.singletons : statistics.zero_std_groups);
    });
  });
  if (statistics.groups > 0) statistics.group_std_mean /= static_cast<double>(statistics.groups);
  return statistics;
}

/// As above, with the moments of all of a group's rewards.
inline group_statistics write_group_advantages(std::span<const double> rewards,
                                               std::span<const std::int64_t> groups,
                                               const advantage_options& options, std::span<double> advantages,
                                               std::span<index_t> scratch, lone_samples lone) {
  return write_group_advantages(
      rewards, groups, options, advantages, scratch, lone,
      [&](std::int64_t, std::size_t count, const auto& reward) { return moments(count, reward, options); });
}

/// Throws shape_error for a number of entries that is not that of the rewards.
inline void check_per_reward(const char* function, const char* name, std::size_t size, std::size_t rewards) {
  if (size != rewards) {
    throw shape_error(message(function, ": ", name, " has ", size, " entries, rewards has ", rewards));
  }
}

/// Throws value_error for a reward that is not finite, unless these are excluded.
inline void check_rewards(const char* function, std::span<const double> rewards,
                          std::span<const std::int64_t> groups, not_finite_rewards not_finite) {
  for (std::size_t i = 0; i < rewards.size() && not_finite == not_finite_rewards::refuse; ++i) {
    if (!is_finite(rewards[i])) {
      throw value_error(
          message(function, ": rewards[", i, "] = ", rewards[i], " (group ", groups[i], "), must be finite"));
    }
  }
}

/// The places of rewards that are not finite, ascending.
inline std::vector<index_t> excluded_places(std::span<const double> rewards) {
  std::vector<index_t> places;
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    if (!is_finite(rewards[i])) places.push_back(static_cast<index_t>(i));
  }
  return places;
}

}  // namespace detail

/// Writes the advantage of each sample relative to its group.
///
/// rewards, groups, advantages, scratch: one entry per sample; samples of a group need not be neighbours, but
/// ascending ids are fastest. All in double; the bits of a sample do not depend on the order of the others. A
/// singleton, a sample of a group of equal rewards and one whose reward is excluded get exactly 0.
///
/// Throws shape_error for sizes that differ, group_error when there are no samples, no finite rewards, a group of
/// another size than options.group_size, a group of one sample where the others' mean is the baseline, or several
/// samples without a group that has two finite rewards; value_error for a reward that is not finite (naming it)
/// unless these are excluded, rewards whose std overflows, or an epsilon, min_std or group size that is negative or
/// not finite.
inline group_statistics group_advantages(std::span<const double> rewards,
                                         std::span<const std::int64_t> groups,
                                         const advantage_options& options, std::span<double> advantages,
                                         std::span<index_t> scratch) {
  detail::check_per_reward("group_advantages", "groups", groups.size(), rewards.size());
  detail::check_per_reward("group_advantages", "advantages", advantages.size(), rewards.size());
  detail::check_per_reward("group_advantages", "scratch", scratch.size(), rewards.size());
  if (rewards.empty()) throw group_error("group_advantages: no samples");
  detail::check_advantage_options(options);
  detail::check_rewards("group_advantages", rewards, groups, options.not_finite);
  return detail::write_group_advantages(rewards, groups, options, advantages, scratch,
                                        detail::lone_samples::refused);
}

/// As above, with memory of its own, and with the samples that were excluded, which minibatches leave out:
///
///   const auto advantages = group_advantages(rewards, groups, {.not_finite = not_finite_rewards::exclude});
///   minibatches(rollout, advantages, weights)
inline advantage_set group_advantages(std::span<const double> rewards, std::span<const std::int64_t> groups,
                                      const advantage_options& options = {}) {
  advantage_set result;
  result.values.resize(rewards.size());
  std::vector<index_t> scratch(rewards.size());
  result.statistics = group_advantages(rewards, groups, options, result.values, scratch);
  if (result.statistics.excluded > 0) result.excluded = detail::excluded_places(rewards);
  return result;
}

}  // namespace tempflow
