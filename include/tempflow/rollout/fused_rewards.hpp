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

#include "tempflow/core/error.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/rollout/trajectories.hpp"

namespace tempflow {

/// How the rewards of a transition's samples become one.
enum class reward_fusion {
  mean,             ///< over the samples that it led to
  path_probability  ///< from the leaves up, children by the softmax of their log-probs
};

/// A reward per row of a rollout, from one per sample.
///
/// Throws shape_error for another number of rewards than samples; for path_probability, value_error for a row
/// that leads both to other rows and straight to samples, whose paths have no probabilities to compare.
template <storage_scalar T, class Buffer>
std::vector<double> fused_rewards(const trajectories<T, Buffer>& rollout, std::span<const double> rewards,
                                  reward_fusion fusion = reward_fusion::mean) {
  const auto at = [](index_t i) { return static_cast<std::size_t>(i); };
  detail::check_size("fused_rewards", "rewards", rewards.size(), rollout.samples().rows());
  const std::size_t rows = at(rollout.rows());
  std::vector<double> fused(rows);
  if (fusion == reward_fusion::mean) {
    for (std::size_t sample = 0; sample < rewards.size(); ++sample) {
      for (index_t row = rollout.last_row(static_cast<index_t>(sample)); row >= 0;
           row = rollout.row(row).parent) {
        fused[at(row)] += rewards[sample];
      }
    }
    for (std::size_t row = 0; row < rows; ++row) {
      fused[row] /= static_cast<double>(rollout.row(static_cast<index_t>(row)).samples);
    }
    return fused;
  }

  std::vector<double> own(rows), highest(rows, -HUGE_VAL), total(rows);
  std::vector<index_t> own_samples(rows), children(rows);
  for (std::size_t sample = 0; sample < rewards.size(); ++sample) {
    const index_t row = rollout.last_row(static_cast<index_t>(sample));
    if (row >= 0) own[at(row)] += rewards[sample], ++own_samples[at(row)];
  }
  const auto log_probs = rollout.log_probs();
  for (std::size_t row = 0; row < rows; ++row) {
    const index_t parent = rollout.row(static_cast<index_t>(row)).parent;
    if (parent < 0) continue;
    ++children[at(parent)];
    highest[at(parent)] = (std::max)(highest[at(parent)], log_probs[row]);
  }
  for (std::size_t row = rows; row-- > 0;) {  // children come behind their parents
    if (children[row] > 0 && own_samples[row] > 0) {
      throw value_error(detail::message("fused_rewards: row ", row, " leads to ", children[row],
                                        " rows and straight to ", own_samples[row], " samples"));
    }
    fused[row] =
        children[row] > 0 ? fused[row] / total[row] : own[row] / static_cast<double>(own_samples[row]);
    const index_t parent = rollout.row(static_cast<index_t>(row)).parent;
    if (parent < 0) continue;
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
