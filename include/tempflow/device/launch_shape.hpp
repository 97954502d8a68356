// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The threads that a kernel is launched with, blocks of warps of 32 and clusters of blocks, and what each
// reads and writes at once.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {

/// A grid of thread blocks: rows of blocks, and in each block rows of warps, so that a kernel finds its row
/// of a batch without a division.
struct launch_shape {
  index_t blocks = 0;        ///< along a row
  index_t rows = 1;          ///< of blocks
  int warps = 1;             ///< of a block, along a row
  int warp_rows = 1;         ///< of a block
  int cluster = 1;           ///< neighbouring blocks of a row that reach each other's shared memory
  index_t shared_bytes = 0;  ///< of a block
};

/// Lanes of a warp.
inline constexpr int warp_lanes = 32;

namespace detail {

/// What devices ask of a kernel before they launch it.
template <class Kernel>
constexpr void check_kernel() {
  static_assert(std::is_trivially_copyable_v<Kernel>,
                "tempflow: what is launched is copied to the device byte by byte: it must be trivially "
                "copyable, and so must an objective or a body that is a part of it");
  static_assert(sizeof(Kernel) <= 4096, "tempflow: the parameters of a kernel have 4 KiB");
}

/// Bytes that a lane reads or writes at once, on a boundary of as many or of 16.
template <std::size_t Size>
struct alignas(Size < 16 ? Size : 16) access_words {
  static_assert(Size % 4 == 0);
  std::uint32_t value[Size / 4];
};

/// The bytes of a mask for the elements of an access, the first in the lowest bits.
template <int Width>
struct access_bytes {
  std::uint32_t word[(Width + 3) / 4];

  /// That of element j: 0 where it is left out.
  TEMPFLOW_HD constexpr std::uint32_t operator[](int j) const { return (word[j / 4] >> (j % 4 * 8)) & 0xffu; }
};

/// Rows of blocks in two dimensions of a grid, which has at most 65,535 in each: a few too many where they do
/// not divide, which kernels leave alone.
struct folded_rows {
  index_t y, z;
};
constexpr folded_rows fold_rows(index_t rows) {
  constexpr index_t most = 65535;
  const index_t z = (rows - 1) / most + 1;
  return {(rows - 1) / z + 1, z};
}

}  // namespace detail
}  // namespace tempflow
