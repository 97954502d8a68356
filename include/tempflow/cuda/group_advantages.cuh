// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Group advantages of a CUDA device: the toolkit's radix sort, which tempflow/cuda.cuh leaves out.

#include <cub/device/device_radix_sort.cuh>

#include "tempflow/cuda/group_advantages.hpp"
#include "tempflow/cuda/launch.cuh"

namespace tempflow {

/// As declared.
template <std::derived_from<cuda_device> Device>
TEMPFLOW_NOINLINE std::size_t sort_scratch_bytes(const Device& device, index_t count) {
  const auto current = device.make_current();
  const std::int64_t* const keys = nullptr;
  const index_t* const values = nullptr;
  std::size_t bytes = 0;
  check_cuda(cub::DeviceRadixSort::SortPairs(nullptr, bytes, keys, const_cast<std::int64_t*>(keys), values,
                                             const_cast<index_t*>(values), count, 0, 64, device.stream()),
             "cub::DeviceRadixSort::SortPairs");
  return bytes;
}

/// As declared.
template <std::derived_from<cuda_device> Device>
TEMPFLOW_NOINLINE void sort_pairs(const Device& device, const sort_request& request,
                                  std::span<std::byte> scratch) {
  const auto current = device.make_current();
  std::size_t bytes = scratch.size();
  check_cuda(cub::DeviceRadixSort::SortPairs(scratch.data(), bytes, request.keys, request.sorted_keys,
                                             request.values, request.sorted_values, request.count, 0, 64,
                                             device.stream()),
             "cub::DeviceRadixSort::SortPairs");
}

}  // namespace tempflow
