// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "methods.hpp"

namespace fashion {

/// The velocities that a loss compares, one row a state.
struct velocities {
  tempflow::batch_view<const float> policy, reference;
  tempflow::batch_view<const float> old = {};  ///< of the old policy, where the objective needs it
};

/// Whether an objective compares the policy with the old one by more than stored log-probs.
bool needs_old_velocity(const objective& loss);

/// Loss, statistics and dL/dv of a batch. sequences: the sample of each row, for objectives of whole samples.
tempflow::policy_statistics loss_of(const tempflow::cpu_backend& cpu, const objective& loss,
                                    tempflow::minibatch<float> batch, const velocities& v,
                                    std::span<const std::int64_t> sequences,
                                    tempflow::batch_view<float> gradient);

}  // namespace fashion
