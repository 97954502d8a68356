// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a rollout asks of its prompts and its model.

#include <algorithm>
#include <span>
#include <vector>

#include "tempflow/core/element_mask.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow::detail {

/// Prompt ids identify noise and groups: each must fit 32 bits and appear once.
inline void check_prompts(std::span<const index_t> prompts) {
  if (prompts.empty()) throw value_error("roll_out: no prompts");
  std::vector<index_t> sorted(prompts.begin(), prompts.end());
  std::sort(sorted.begin(), sorted.end());
  if (sorted.front() < 0 || sorted.back() > 0xffffffff) {
    throw value_error(message("roll_out: prompt id ", sorted.front() < 0 ? sorted.front() : sorted.back(),
                              " outside [0, 2^32)"));
  }
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end()) {
    throw group_error(
        message("roll_out: prompt id ", *twice, " appears twice; its groups and noise would merge"));
  }
}

inline void check_dimension(index_t dimension) {
  if (dimension < 1) throw shape_error(message("roll_out: the model's dimension is ", dimension));
}

/// Fixed elements: one mask for all states, values for all prompts.
template <class Values>
void check_fixed(const element_mask& mask, const Values& values, index_t prompts, index_t dimension,
                 bool redraw) {
  if (!mask.given()) {
    if (values.rows() != 0) throw shape_error("roll_out: fixed elements have values and no mask");
    return;
  }
  if (mask.rows() != 1 || mask.columns() != dimension) {
    throw shape_error(message("roll_out: the mask of fixed elements is ", mask.rows(), " x ", mask.columns(),
                              ", expected 1 x ", dimension, ", one row for all states"));
  }
  if ((values.rows() != 1 && values.rows() != prompts) || values.columns() != dimension) {
    throw shape_error(message("roll_out: the values of fixed elements are ", values.rows(), " x ",
                              values.columns(), ", expected a row of ", dimension, " for each of the ",
                              prompts, " prompts, or one for all"));
  }
  if (redraw) throw value_error("roll_out: fixed elements and redraw: what is drawn again has no mask");
}

}  // namespace tempflow::detail
