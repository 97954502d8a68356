// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <tempflow/backend/cpu.hpp>
#include <vector>

#include "classifier.hpp"
#include "options.hpp"

namespace fashion {

/// Scores finished images against their prompts: one number per sample, more is better.
using reward_function =
    std::function<std::vector<double>(const matrix& images, std::span<const tempflow::index_t> prompts)>;

/// The reward that the options name. Refers to the classifier.
reward_function make_reward(const tempflow::cpu_backend& cpu, const options& settings,
                            const classifier& network);

}  // namespace fashion
