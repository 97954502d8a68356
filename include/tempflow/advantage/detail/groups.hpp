// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The order in which samples are visited group by group.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tempflow/core/index.hpp"

namespace tempflow::detail {

/// Fills order with the places of all samples, by group id, then place. It has one entry per sample. What is
/// sorted are runs of neighbours of one group, so fewer than samples where siblings lie side by side.
inline void sort_by_group(std::span<const std::int64_t> groups, std::span<index_t> order) {
  const auto group_of = [&](index_t i) { return groups[static_cast<std::size_t>(i)]; };
  const auto count = static_cast<index_t>(groups.size());
  const auto run_end = [&](index_t i) {
    while (++i < count && group_of(i) == group_of(i - 1)) continue;
    return i;
  };
  std::size_t runs = 0;
  for (index_t begin = 0; begin < count; begin = run_end(begin)) order[runs++] = begin;
  std::ranges::sort(order.first(runs), [&](index_t a, index_t b) {
    return group_of(a) != group_of(b) ? group_of(a) < group_of(b) : a < b;
  });
  std::size_t end = order.size();
  while (runs > 0) {  // from the last to the first: what is still to be read lies before `end`
    const index_t begin = order[--runs];
    for (index_t i = run_end(begin); i-- > begin;) order[--end] = i;
  }
}

}  // namespace tempflow::detail
