// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Samples visited group by group.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tempflow/advantage/advantage_options.hpp"
#include "tempflow/core/error.hpp"
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
  std::sort(order.data(), order.data() + runs, [&](index_t a, index_t b) {
    return group_of(a) != group_of(b) ? group_of(a) < group_of(b) : a < b;
  });
  std::size_t end = order.size();
  while (runs > 0) {  // from the last to the first: what is still to be read lies before `end`
    const index_t begin = order[--runs];
    for (index_t i = run_end(begin); i-- > begin;) order[--end] = i;
  }
}

/// visit(place): place(0), place(1), ... are the samples, by group. order: one entry per sample, to write to.
template <class Visit>
void by_group(std::span<const std::int64_t> groups, std::span<index_t> order, const Visit& visit) {
  if (std::is_sorted(groups.begin(), groups.end())) return visit([](std::size_t i) { return i; });
  sort_by_group(groups, order);
  visit([order](std::size_t i) { return static_cast<std::size_t>(order[i]); });
}

/// visit(first, last): place(first), ..., place(last - 1) are the samples of a group.
template <class Place, class Visit>
void for_each_group(std::span<const std::int64_t> groups, const Place& place, const Visit& visit) {
  const auto same_group = [&](auto i, auto j) { return groups[place(i)] == groups[place(j)]; };
  const std::size_t count = groups.size();
  std::size_t last = 0, size = 1;
  for (std::size_t first = 0; first < count; first = last) {
    last = first + size;  // groups tend to be of one size
    if (last > count || !same_group(first, last - 1) || (last < count && same_group(first, last))) {
      for (last = first + 1; last < count && same_group(first, last);) ++last;
      size = last - first;
    }
    visit(first, last);
  }
}

struct group_sizes {
  index_t smallest = 0, largest = 0;
};

/// Throws group_error for a group of another size than options.group_size, if that is not 0, or of one sample where
/// its baseline are the others.
template <class Place>
group_sizes sizes_of_groups(std::span<const std::int64_t> groups, const Place& place,
                            const advantage_options& options) {
  group_sizes found;
  for_each_group(groups, place, [&](std::size_t first, std::size_t last) {
    const auto size = static_cast<index_t>(last - first);
    if (options.group_size != 0 && size != options.group_size) {
      throw group_error(message("group_advantages: group ", groups[place(first)], " has ", size,
                                size == 1 ? " sample" : " samples", ", expected ", options.group_size,
                                " (group_size)"));
    }
    if (options.baseline == advantage_baseline::others_mean && size == 1) {
      throw group_error(message("group_advantages: group ", groups[place(first)],
                                " has 1 sample, and no others whose mean is its baseline (others_mean)"));
    }
    found.smallest = first == 0 ? size : (std::min)(found.smallest, size);
    found.largest = (std::max)(found.largest, size);
  });
  return found;
}

}  // namespace tempflow::detail
