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

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "tempflow/advantage/detail/groups.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// What the centred rewards are divided by.
enum class advantage_scale {
  group_std,   ///< the standard deviation within the sample's group
  global_std,  ///< the standard deviation of all rewards given
  none,        ///< nothing: A = R - mean (Dr.GRPO)
};

/// Which standard deviation.
enum class std_estimate {
  population,  ///< divides by n (Flow-GRPO, TempFlow-GRPO)
  sample,      ///< divides by n - 1 (DanceGRPO, MixGRPO)
};

/// How epsilon keeps the division safe.
enum class epsilon_rule {
  add,    ///< std + eps (Flow-GRPO, TempFlow-GRPO, DanceGRPO)
  floor,  ///< max(std, eps) (Flow-Factory)
};

/// How rewards become advantages. The defaults are Flow-GRPO's and TempFlow-GRPO's.
struct advantage_options {
  advantage_scale scale = advantage_scale::group_std;
  std_estimate std = std_estimate::population;
  double epsilon = 1e-4;
  epsilon_rule epsilon_as = epsilon_rule::add;
};

/// What the groups looked like.
struct group_statistics {
  index_t samples = 0;
  index_t groups = 0;
  index_t singletons = 0;       ///< groups of one sample: its advantage is 0
  index_t zero_std_groups = 0;  ///< of two and more equal rewards: advantages of 0
  double reward_mean = 0;       ///< over all samples
  double reward_std = 0;        ///< over all samples, by the chosen estimate
  double group_std_mean = 0;    ///< mean over groups of the std within, by the chosen estimate

  /// Share of groups that teach nothing because their rewards are all equal.
  double zero_std_share() const {
    return groups == 0 ? 0 : static_cast<double>(zero_std_groups) / static_cast<double>(groups);
  }
};

/// Advantages in the order of the rewards.
struct advantage_set {
  std::vector<double> values;
  group_statistics statistics;

  operator std::span<const double>() const { return values; }
};

namespace detail {

struct reward_moments {
  double mean = 0;
  double std = 0;
  bool constant = true;
};

/// Moments of reward(0), ..., reward(count - 1) in two passes; exact where all are equal.
TEMPFLOW_HD_TEMPLATE
template <class Reward>
TEMPFLOW_HD reward_moments moments(std::size_t count, const Reward& reward, std_estimate estimate) {
  const double first = reward(0);
  std::size_t equal = 1;
  while (equal < count && reward(equal) == first) ++equal;
  if (equal == count) return {.mean = first};
  double offset = 0, squared = 0;
  for (std::size_t i = 0; i < count; ++i) offset += reward(i) - first;
  const auto n = static_cast<double>(count);
  const double mean = first + offset / n;
  for (std::size_t i = 0; i < count; ++i) {
    const double centred = reward(i) - mean;
    squared = fused_multiply_add(centred, centred, squared);
  }
  const double divisor = estimate == std_estimate::sample ? n - 1 : n;
  return {.mean = mean, .std = std::sqrt(squared / divisor), .constant = false};
}

inline void check_advantage_options(const advantage_options& options) {
  if (!is_finite(options.epsilon) || options.epsilon < 0) {
    throw value_error(message("group_advantages: epsilon = ", options.epsilon, ", must not be negative"));
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
TEMPFLOW_HD inline double advantage_of(double reward, const reward_moments& siblings, double divisor) {
  return siblings.constant || divisor == 0 ? 0.0 : (reward - siblings.mean) / divisor;
}

/// Whether a sample that is alone in its group is an error where all samples are.
enum class lone_samples { refused, zero };

/// group_advantages of rewards that are finite and extents that fit. Throws before anything is written.
inline group_statistics write_group_advantages(std::span<const double> rewards,
                                               std::span<const std::int64_t> groups,
                                               const advantage_options& options, std::span<double> advantages,
                                               std::span<index_t> scratch, lone_samples lone) {
  const auto all = moments(
      rewards.size(), [&](std::size_t i) { return rewards[i]; }, options.std);
  if (!is_finite(all.mean) || !is_finite(all.std)) {
    throw value_error(message("group_advantages: rewards are too far apart, their mean is ", all.mean,
                              " and their std ", all.std));
  }
  const bool sorted = std::ranges::is_sorted(groups);
  if (!sorted) sort_by_group(groups, scratch);
  group_statistics statistics{
      .samples = static_cast<index_t>(rewards.size()), .reward_mean = all.mean, .reward_std = all.std};
  const auto solve = [&](const auto& place) {  // place(0), place(1), ...: the samples, by group
    const auto same_group = [&](auto i, auto j) { return groups[place(i)] == groups[place(j)]; };
    const std::size_t count = rewards.size();
    std::size_t shared = 1;
    while (shared < count && !same_group(shared - 1, shared)) ++shared;
    if (lone == lone_samples::refused && count > 1 && shared == count) {
      throw group_error(message("group_advantages: each of the ", count,
                                " samples is alone in its group: nothing to compare with"));
    }
    std::size_t last = 0, size = 1;
    for (std::size_t first = 0; first < count; first = last) {
      last = first + size;  // groups tend to be of one size
      if (last >= count || !same_group(first, last - 1) || same_group(first, last)) {
        for (last = first + 1; last < count && same_group(first, last);) ++last;
        size = last - first;
      }
      const auto siblings = moments(
          size, [&](std::size_t i) { return rewards[place(first + i)]; }, options.std);
      const double divisor = advantage_divisor(options, siblings.std, all.std);
      for (std::size_t i = first; i < last; ++i) {
        const std::size_t at = place(i);
        advantages[at] = advantage_of(rewards[at], siblings, divisor);
      }
      ++statistics.groups;
      statistics.group_std_mean += siblings.std;
      if (siblings.constant) ++(size == 1 ? statistics.singletons : statistics.zero_std_groups);
    }
  };
  if (sorted) {
    solve([](std::size_t i) { return i; });
  } else {
    solve([&](std::size_t i) { return static_cast<std::size_t>(scratch[i]); });
  }
  statistics.group_std_mean /= static_cast<double>(statistics.groups);
  return statistics;
}

}  // namespace detail

/// Writes the advantage of each sample relative to its group.
///
/// rewards, groups, advantages, scratch: one entry per sample; samples of a group need not be neighbours, but
/// ascending ids are fastest. All in double. A singleton and a sample of a group of equal rewards get exactly
/// 0.
///
/// Throws shape_error for sizes that differ, group_error when there are no samples or each is alone in its
/// group, value_error for a reward that is not finite (naming it), rewards whose std overflows, or an epsilon
/// that is negative or not finite.
inline group_statistics group_advantages(std::span<const double> rewards,
                                         std::span<const std::int64_t> groups,
                                         const advantage_options& options, std::span<double> advantages,
                                         std::span<index_t> scratch) {
  const auto check_size = [&](const char* name, std::size_t size) {
    if (size != rewards.size()) {
      throw shape_error(detail::message("group_advantages: ", name, " has ", size, " entries, rewards has ",
                                        rewards.size()));
    }
  };
  check_size("groups", groups.size());
  check_size("advantages", advantages.size());
  check_size("scratch", scratch.size());
  if (rewards.empty()) throw group_error("group_advantages: no samples");
  detail::check_advantage_options(options);
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    if (!is_finite(rewards[i])) {
      throw value_error(detail::message("group_advantages: rewards[", i, "] = ", rewards[i], " (group ",
                                        groups[i], "), must be finite"));
    }
  }
  return detail::write_group_advantages(rewards, groups, options, advantages, scratch,
                                        detail::lone_samples::refused);
}

/// As above, with memory of its own.
inline advantage_set group_advantages(std::span<const double> rewards, std::span<const std::int64_t> groups,
                                      const advantage_options& options = {}) {
  advantage_set result;
  result.values.resize(rewards.size());
  std::vector<index_t> scratch(rewards.size());
  result.statistics = group_advantages(rewards, groups, options, result.values, scratch);
  return result;
}

}  // namespace tempflow
