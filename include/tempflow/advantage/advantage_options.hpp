// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How rewards become advantages: the choices of the field, by name.

#include "tempflow/core/index.hpp"

namespace tempflow {

/// What the centred rewards are divided by.
enum class advantage_scale {
  group_std,   ///< the standard deviation within the sample's group
  global_std,  ///< the standard deviation of all rewards given
  none,        ///< nothing: A = R - mean (Dr.GRPO; with others_mean, RLOO)
};

/// What rewards are centred on.
enum class advantage_baseline {
  group_mean,   ///< the mean of the sample's group, the sample included
  others_mean,  ///< the mean of the group's other samples: n / (n - 1) times as much (RLOO, arXiv 2402.14740)
};

/// Which standard deviation of the rewards is meant.
enum class std_estimate {
  population,  ///< divides by n (Flow-GRPO, TempFlow-GRPO)
  sample,      ///< divides by n - 1 (DanceGRPO, MixGRPO)
};

/// How epsilon keeps the division safe.
enum class epsilon_rule {
  add,    ///< std + eps (Flow-GRPO, TempFlow-GRPO, DanceGRPO)
  floor,  ///< max(std, eps) (Flow-Factory)
};

/// What becomes of rewards that are not finite.
enum class not_finite_rewards {
  refuse,   ///< an error that names the first
  exclude,  ///< not of means and stds; advantage 0, and named for minibatches, which leave them out
};

/// How rewards become advantages. The defaults are Flow-GRPO's and TempFlow-GRPO's.
struct advantage_options {
  advantage_scale scale = advantage_scale::group_std;
  std_estimate std = std_estimate::population;
  double epsilon = 1e-4;
  epsilon_rule epsilon_as = epsilon_rule::add;
  not_finite_rewards not_finite = not_finite_rewards::refuse;
  advantage_baseline baseline = advantage_baseline::group_mean;
  double min_std =
      0;  ///< a group whose std (as `std` says) is below it has advantages of 0, whatever the scale
  index_t group_size = 0;  ///< samples that each group must have, excluded ones included; 0: any number
};

}  // namespace tempflow
