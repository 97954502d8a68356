// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Stores that go past the caches: for outputs so large that they would only push out what is still to be read.

#include <atomic>
#include <cstdint>
#include <cstring>

#include "tempflow/config.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/instruction_set.hpp"
#include "tempflow/core/lanes.hpp"

namespace tempflow::detail {

/// Streamed memory must be aligned to this many bytes.
inline constexpr int stream_alignment = 64;

/// An output of this many bytes will have left the caches of a core before it is read again.
inline constexpr index_t stream_bytes = index_t{4} << 20;

/// Whether rows of `out` are aligned, and enough to be worth it.
template <class T>
bool worth_streaming(const batch_view<T>& out) {
  const auto start = reinterpret_cast<std::uintptr_t>(out.data());
  const auto stride = out.row_stride() * static_cast<index_t>(sizeof(T));
  const bool aligned = start % stream_alignment == 0 && stride % stream_alignment == 0;
  return aligned && out.rows() * out.columns() * static_cast<index_t>(sizeof(T)) >= stream_bytes;
}

/// Whether kernels for these instructions have such stores.
template <instruction_set Instructions>
inline constexpr bool can_stream = TEMPFLOW_VECTOR_TYPES&& Instructions != instruction_set::portable;

/// Writes N elements to aligned memory.
template <instruction_set Instructions, class T, int N>
TEMPFLOW_INLINE void stream(T* out, const T (&elements)[N]) {
  using word_lanes = lanes<long long, Instructions == instruction_set::avx512 ? 8 : 4>;
  constexpr int bytes = sizeof(word_lanes);
  static_assert(sizeof elements % bytes == 0);
  for (int at = 0; at < static_cast<int>(sizeof elements); at += bytes) {
    word_lanes part;
    std::memcpy(&part.value, reinterpret_cast<const unsigned char*>(elements) + at, bytes);
    stream(reinterpret_cast<unsigned char*>(out) + at, part);
  }
}

/// Makes streamed elements visible to other threads before what the caller writes next.
inline void stream_fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

}  // namespace tempflow::detail
