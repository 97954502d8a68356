// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What group advantages ask of a device besides launches and memory: to sort. Two functions beside the
// Device, found by its argument:
//
//   sort_scratch_bytes(device, count)        memory that it needs to sort so many
//   sort_pairs(device, request, scratch)     in stream order

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tempflow/core/index.hpp"

namespace tempflow {

/// Keys to be put in ascending order, each with its value; equal keys stay in theirs. All in device memory,
/// and none of the arrays overlap.
struct sort_request {
  const std::int64_t* keys;
  std::int64_t* sorted_keys;
  const index_t* values;
  index_t* sorted_values;
  index_t count;
};

/// A device that sorts.
template <class Device>
concept sorting_device = requires(const Device& device, const sort_request& request,
                                  std::span<std::byte> scratch) {
  { sort_scratch_bytes(device, request.count) } -> std::convertible_to<std::size_t>;
  sort_pairs(device, request, scratch);
};

}  // namespace tempflow
