// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rewards of a tree's samples, credited to the transitions that led to them.
//   group_advantages(fused_rewards(rollout, rewards), rollout.depth_groups())
// Source: BranchGRPO, arXiv 2509.06040, section 3.3; train_branchgrpo_flux.py.

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "tempflow/advantage/advantage_options.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/rollout/trajectories.hpp"

namespace tempflow {

/// How the rewards of a transition's samples become one.
enum class reward_fusion {
  mean,             ///< over the samples that it led to
  path_probability  ///< from the leaves up, children by the softmax of their log-probs
};

/// A reward per row of a rollout, from one per sample. Where rewards that are not finite are excluded, a row's is that of
/// its other samples, and NaN where it has none, for group_advantages to exclude.
///
/// Throws shape_error for another number of rewards than samples; value_error for a reward that is not finite, unless
/// these are excluded; for path_probability, value_error for a row that leads both to other rows and straight to
/// samples, whose paths have no probabilities to compare.
template <storage_scalar T, class Buffer>
std::vector<double> fused_rewards(const trajectories<T, Buffer>& rollout, std::span<const double> rewards,
                                  reward_fusion fusion = reward_fusion::mean,
                                  not_finite_rewards not_finite = not_finite_rewards::refuse) {
  const auto at = [](index_t i) { return static_cast<std::size_t>(i); };
  detail::check_size("fused_rewards", "rewards", rewards.size(), rollout.samples().rows());
  const std::size_t rows = at(rollout.rows());
  std::vector<double> sums(rows);  // of the rewards that count, as many as `counted`
  std::vector<index_t> counted(rows), own_samples(rows);
  for (std::size_t sample = 0; sample < rewards.size(); ++sample) {
    const index_t last = rollout.last_row(static_cast<index_t>(sample));
    if (last >= 0) ++own_samples[at(last)];
    if (!is_finite(rewards[sample])) {
      if (not_finite == not_finite_rewards::exclude) continue;
      throw value_error(
          detail::message("fused_rewards: rewards[", sample, "] = ", rewards[sample], ", must be finite"));
    }
    for (index_t row = last; row >= 0; row = rollout.row(row).parent) {
      sums[at(row)] += rewards[sample], ++counted[at(row)];
    }
  }
  const auto mean = [](double sum, index_t count) {
    return count == 0 ? not_a_number : sum / static_cast<double>(count);
  };
  std::vector<double> fused(rows);
  if (fusion == reward_fusion::mean) {
    for (std::size_t row = 0; row < rows; ++row) fused[row] = mean(sums[row], counted[row]);
    return fused;
  }

  std::vector<double> highest(rows, -HUGE_VAL), total(rows);
  std::vector<index_t> children(rows);
  const auto log_probs = rollout.log_probs();
  for (std::size_t row = 0; row < rows; ++row) {
    const index_t parent = rollout.row(static_cast<index_t>(row)).parent;
    if (parent < 0) continue;
    ++children[at(parent)];
    if (counted[row] > 0) highest[at(parent)] = (std::max)(highest[at(parent)], log_probs[row]);
  }
  for (std::size_t row = rows; row-- > 0;) {  // children come behind their parents
    if (children[row] > 0 && own_samples[row] > 0) {
      throw value_error(detail::message("fused_rewards: row ", row, " leads to ", children[row],
                                        " rows and straight to ", own_samples[row], " samples"));
    }
    fused[row] = children[row] == 0 ? mean(sums[row], counted[row])
                 : counted[row] > 0 ? fused[row] / total[row]
                                    : not_a_number;
    const index_t parent = rollout.row(static_cast<index_t>(row)).parent;
    if (parent < 0 || counted[row] == 0) continue;
    const double share = std::exp(log_probs[row] - highest[at(parent)]);
    fused[at(parent)] += share * fused[row];
    total[at(parent)] += share;
  }
  return fused;
}

/// Log-probs of whole paths: of each row and all before it on its trajectory.
template <storage_scalar T, class Buffer>
std::vector<double> path_log_probs(const trajectories<T, Buffer>& rollout) {
  const auto own = rollout.log_probs();
  std::vector<double> paths(own.begin(), own.end());
  for (std::size_t row = 0; row < paths.size(); ++row) {
    const index_t parent = rollout.row(static_cast<index_t>(row)).parent;
    if (parent >= 0) paths[row] += paths[static_cast<std::size_t>(parent)];
  }
  return paths;
}

}  // namespace tempflow
