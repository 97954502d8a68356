// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a rollout asks of its prompts and its model.

#include <algorithm>
#include <span>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow::detail {

/// Prompt ids identify noise and groups: each must fit 32 bits and appear once.
inline void check_prompts(std::span<const index_t> prompts) {
  if (prompts.empty()) throw value_error("roll_out: no prompts");
  std::vector<index_t> sorted(prompts.begin(), prompts.end());
  std::ranges::sort(sorted);
  if (sorted.front() < 0 || sorted.back() > 0xffffffff) {
    throw value_error(message("roll_out: prompt id ", sorted.front() < 0 ? sorted.front() : sorted.back(),
                              " outside [0, 2^32)"));
  }
  if (const auto twice = std::ranges::adjacent_find(sorted); twice != sorted.end()) {
    throw group_error(
        message("roll_out: prompt id ", *twice, " appears twice; its groups and noise would merge"));
  }
}

inline void check_dimension(index_t dimension) {
  if (dimension < 1) throw shape_error(message("roll_out: the model's dimension is ", dimension));
}

}  // namespace tempflow::detail
