// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a rollout asks of its prompts and its model, and calls of the model in chunks.

#include <algorithm>
#include <span>
#include <vector>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/rollout/velocity_model.hpp"

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

/// Asks the model for all rows, at most max_batch at a time (0: all at once).
template <velocity_model M>
void evaluate(M& model, batch_view<const typename M::value_type> x, std::span<const double> sigma,
              std::span<const index_t> prompts, batch_view<typename M::value_type> v, index_t max_batch) {
  const index_t limit = max_batch == 0 ? x.rows() : max_batch;
  for (index_t first = 0; first < x.rows(); first += limit) {
    const index_t count = (std::min)(limit, x.rows() - first);
    const auto at = static_cast<std::size_t>(first), size = static_cast<std::size_t>(count);
    model.velocity(x.slice(first, count), sigma.subspan(at, size), prompts.subspan(at, size),
                   v.slice(first, count));
  }
}

}  // namespace tempflow::detail
