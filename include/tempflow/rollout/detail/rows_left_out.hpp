// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The rows of a rollout that are not trained on.

#include <span>
#include <string_view>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/rollout/minibatch_options.hpp"

namespace tempflow::detail {

/// Marks what is listed. Throws value_error for what is not there.
inline void mark(std::string_view what, std::span<const index_t> list, std::vector<bool>& marks) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i] < 0 || list[i] >= static_cast<index_t>(marks.size())) {
      throw value_error(message("minibatches: leave_out.", what, "[", i, "] = ", list[i], ", there are ",
                                marks.size(), " ", what));
    }
    marks[static_cast<std::size_t>(list[i])] = true;
  }
}

/// Rows that are left out: listed, or those of a listed state, or those whose samples are all listed.
template <class Rollout>
std::vector<bool> rows_left_out(const Rollout& rollout, const left_out& what, bool advantages_of_rows) {
  const auto at = [](index_t i) { return static_cast<std::size_t>(i); };
  std::vector<bool> rows(at(rollout.rows())), samples(at(rollout.samples().rows())),
      states(at(rollout.states().rows()));
  mark("rows", what.rows, rows);
  mark("samples", what.samples, samples);
  mark("states", what.states, states);
  mark("advantages", what.advantages, advantages_of_rows ? rows : samples);
  std::vector<index_t> left(rows.size());  // samples that a row led to and that are not listed
  for (index_t i = 0; i < rollout.rows(); ++i) left[at(i)] = rollout.row(i).samples;
  for (index_t sample = 0; sample < rollout.samples().rows(); ++sample) {
    if (!samples[at(sample)]) continue;
    for (index_t i = rollout.last_row(sample); i >= 0; i = rollout.row(i).parent) --left[at(i)];
  }
  for (index_t i = 0; i < rollout.rows(); ++i) {
    const auto& row = rollout.row(i);
    if (states[at(row.state)] || (row.samples > 0 && left[at(i)] == 0)) rows[at(i)] = true;
  }
  return rows;
}

}  // namespace tempflow::detail
