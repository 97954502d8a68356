// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Group advantages of a CUDA device, for programs without CUDA source of their own: what they link must
// include tempflow/cuda/group_advantages.cuh and call them for the same backend. Apart from
// tempflow/cuda.hpp, because the toolkit's sort takes longer to compile than all kernels of the library.

#include <concepts>
#include <cstddef>
#include <span>

#include "tempflow/config.hpp"
#include "tempflow/cuda/cuda_device.hpp"
#include "tempflow/device/kernels/group_advantages.hpp"
#include "tempflow/device/sort_pairs.hpp"

namespace tempflow {

/// Bytes that sort_pairs needs for so many pairs. Throws cuda_error.
template <std::derived_from<cuda_device> Device>
TEMPFLOW_HIDDEN std::size_t sort_scratch_bytes(const Device& device, index_t count);

/// Sorts by CUB's radix sort, in stream order; can be captured. Throws cuda_error.
template <std::derived_from<cuda_device> Device>
TEMPFLOW_HIDDEN void sort_pairs(const Device& device, const sort_request& request,
                                std::span<std::byte> scratch);

}  // namespace tempflow
