// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: no matching function for call

#include <tempflow/cuda.hpp>
#include <type_traits>

// A stream is named: 0 and a null pointer do not mean the legacy default stream.
using gpu = tempflow::cuda_backend;
static_assert(std::is_constructible_v<gpu, cudaStream_t> && std::is_constructible_v<gpu, cudaStream_t, int>);
static_assert(!std::is_constructible_v<gpu, int> && !std::is_constructible_v<gpu, std::nullptr_t>);
static_assert(!std::is_constructible_v<gpu, int, int> && !std::is_constructible_v<gpu, std::nullptr_t, int>);
static_assert(!std::is_convertible_v<cudaStream_t, gpu> &&
              !std::is_convertible_v<cudaStream_t, tempflow::cuda_device>);

gpu legacy{cudaStreamLegacy}, of_thread{cudaStreamPerThread}, of_device_1{cudaStreamLegacy, 1};
#ifdef BREAK
gpu zero{0};
#endif
