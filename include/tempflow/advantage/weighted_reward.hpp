// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Several rewards as one: R = sum_k w_k R_k.

#include <initializer_list>
#include <span>
#include <vector>

#include "tempflow/advantage/advantage_options.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow {

/// One of several rewards: its value for each sample, and its weight.
struct weighted_reward {
  std::span<const double> values;
  double weight = 1;
};

/// The weighted sum of rewards, sample by sample: `weighted_sum({{aesthetic, 0.7}, {compressibility, 0.3}})`.
///
/// A sample with a reward that is not finite, or whose sum overflows, is an error, or has a sum that is not finite, for
/// group_advantages to exclude too.
///
/// Throws shape_error when there are no rewards or their sizes differ, value_error for a weight that is not finite,
/// and for such a sample unless these are excluded.
inline std::vector<double> weighted_sum(std::span<const weighted_reward> rewards,
                                        not_finite_rewards not_finite = not_finite_rewards::refuse) {
  if (rewards.empty()) throw shape_error("weighted_sum: no rewards");
  const bool refuse = not_finite == not_finite_rewards::refuse;
  std::vector<double> total(rewards[0].values.size(), 0.0);
  for (std::size_t k = 0; k < rewards.size(); ++k) {
    const auto& [values, weight] = rewards[k];
    if (values.size() != total.size()) {
      throw shape_error(detail::message("weighted_sum: reward ", k, " has ", values.size(),
                                        " samples, reward 0 has ", total.size()));
    }
    if (!is_finite(weight))
      throw value_error(detail::message("weighted_sum: weight of reward ", k, " = ", weight));
    for (std::size_t i = 0; i < total.size(); ++i) {
      if (refuse && !is_finite(values[i])) {
        throw value_error(detail::message("weighted_sum: reward ", k, " of sample ", i, " = ", values[i]));
      }
      total[i] = fused_multiply_add(weight, values[i], total[i]);
      if (refuse && !is_finite(total[i]))
        throw value_error(detail::message("weighted_sum: sample ", i, " overflows"));
    }
  }
  return total;
}

/// As above, for a list written in place.
inline std::vector<double> weighted_sum(std::initializer_list<weighted_reward> rewards,
                                        not_finite_rewards not_finite = not_finite_rewards::refuse) {
  return weighted_sum(std::span<const weighted_reward>(rewards.begin(), rewards.size()), not_finite);
}

}  // namespace tempflow
