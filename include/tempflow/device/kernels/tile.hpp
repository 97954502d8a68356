// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A tile of 1,024 elements in the registers of a warp, 32 a lane, and its sums in the order of
// tiled_arithmetic: the bits are the cpu backend's.
//
// Memory is read and written 16 bytes a lane, neighbours next to each other. The sums want element e in lane
// e mod 32, so squares take a turn through the block's shared memory.

#include <cstdint>
#include <utility>

#include "tempflow/config.hpp"
#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/scalar.hpp"
#include "tempflow/device/launch_shape.hpp"

namespace tempflow::detail {

/// Neighbouring elements that a lane reads or writes at once.
template <storage_scalar T, int Width>
struct packet {
  T value[Width];
};

/// Calls body(std::integral_constant<int, 0>{}), ..., spelt out so that arrays stay in registers.
template <int Count, class Body>
TEMPFLOW_INLINE_DEVICE void static_for(const Body& body) {
  [&]<int... Index>(std::integer_sequence<int, Index...>) {
    (body(std::integral_constant<int, Index>{}), ...);
  }
  (std::make_integer_sequence<int, Count>{});
}

/// Where a row begins on a boundary of 16 bytes.
template <class T>
TEMPFLOW_INLINE_DEVICE bool on_boundary(const T* row) {
  return reinterpret_cast<std::uintptr_t>(row) % 16 == 0;
}

/// The sum over the lanes of a warp, in all of them: lane l and lane l + 16, then l and l + 8, and so on.
template <class Thread, class Real>
TEMPFLOW_INLINE_DEVICE Real fold(const Thread& thread, Real partial) {
  for (int half = warp_lanes / 2; half > 0; half /= 2) partial += thread.shuffle_xor(partial, half);
  return partial;
}

/// The part of a tile that a lane holds, for rows stored as T.
template <storage_scalar T>
struct warp_tile {
  using real = compute_t<T>;
  static constexpr int size = 1024;
  static constexpr int of_lane = size / warp_lanes;
  static constexpr int width = 16 / sizeof(T);  ///< elements of an access
  static constexpr int accesses = of_lane / width;
  static_assert(size == tiled_arithmetic::tile && warp_lanes == group);

  index_t row;
  index_t index;  ///< of the tile in its row
  index_t first;  ///< its first element
  int count;      ///< its elements
  int lane;

  TEMPFLOW_INLINE_DEVICE warp_tile(index_t row_of_tile, index_t index_in_row, index_t elements,
                                   int lane_of_warp)
      : row(row_of_tile),
        index(index_in_row),
        first(index_in_row * size),
        count(elements - first < size ? static_cast<int>(elements - first) : size),
        lane(lane_of_warp) {}

  /// Elements before the lane's, at an access.
  TEMPFLOW_INLINE_DEVICE int offset(int access) const { return (access * warp_lanes + lane) * width; }

  /// Whether all accesses are whole, for rows that begin on boundaries.
  template <class... Rows>
  TEMPFLOW_INLINE_DEVICE bool whole(const Rows*... rows) const {
    return count == size && (on_boundary(rows) && ...);
  }

  /// Reads an access; zeros beyond the row. Whole accesses are the thread's to read: thread.read<bytes>(from).
  template <bool Whole, class Thread, storage_scalar G>
  TEMPFLOW_INLINE_DEVICE packet<G, width> read(const Thread& thread, const G* elements, int access) const {
    packet<G, width> values;
    const int skip = offset(access);
    const G* const from = elements + first + skip;
    if constexpr (Whole) {
      values = bit_cast<packet<G, width>>(thread.template read<sizeof values>(from));
    } else {
      for (int j = 0; j < width; ++j) values.value[j] = skip + j < count ? from[j] : G{};
    }
    return values;
  }

  template <bool Whole, class Thread, storage_scalar G>
  TEMPFLOW_INLINE_DEVICE void write(const Thread& thread, G* elements, int access,
                                    const packet<G, width>& values) const {
    const int skip = offset(access);
    G* const to = elements + first + skip;
    if constexpr (Whole) {
      thread.write(to, bit_cast<access_words<sizeof values>>(values));
    } else {
      for (int j = 0; j < width; ++j) {
        if (skip + j < count) to[j] = values.value[j];
      }
    }
  }

  /// Calls visit(access, packets) for each access, with the elements of all rows there. Some accesses are read
  /// before the first is visited, so that memory has enough to do, and no more than there are registers for.
  template <bool Whole, class Thread, class Visit, int Rows>
  TEMPFLOW_INLINE_DEVICE void each_access(const Thread& thread, const T* const (&rows)[Rows],
                                          const Visit& visit) const {
    constexpr int ahead = !Whole ? 1 : accesses < 4 ? accesses : 4;
    static_for<accesses / ahead>([&](auto turn) {
      packet<T, width> values[ahead][Rows];
      static_for<ahead>([&](auto a) {
        static_for<Rows>(
            [&](auto row_of) { values[a][row_of] = read<Whole>(thread, rows[row_of], turn * ahead + a); });
      });
      static_for<ahead>([&](auto a) { visit(turn * ahead + a, values[a]); });
      thread.sync_warp();
    });
  }

  /// The sum of squares of the tile's values, in all lanes. slab: 1,024 reals of the warp's own.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE double sum_of_squares(const Thread& thread, const real (&value)[of_lane],
                                               real* slab) const {
    thread.sync_warp();
    static_for<accesses>([&](auto access) {
      for (int j = 0; j < width; ++j) slab[offset(access) + j] = value[access * width + j];
    });
    thread.sync_warp();
    real partial = 0;
    static_for<of_lane>([&](auto visit) {
      const real element = slab[visit * group + lane];
      partial = fused_multiply_add(element, element, partial);
    });
    return static_cast<double>(fold(thread, partial));
  }
};

/// Calls body(std::bool_constant<true>{}) or body(std::bool_constant<false>{}).
template <class Body>
TEMPFLOW_INLINE_DEVICE void dispatch_bool(bool condition, const Body& body) {
  if (condition) {
    body(std::bool_constant<true>{});
  } else {
    body(std::bool_constant<false>{});
  }
}

/// A warp's own part of the shared memory of its block.
template <class T, class Thread>
TEMPFLOW_INLINE_DEVICE compute_t<T>* slab_of(const Thread& thread) {
  return reinterpret_cast<compute_t<T>*>(thread.shared()) + thread.warp() * warp_tile<T>::size;
}

/// Warps of a block in kernels that give each warp a tile.
template <storage_scalar T>
inline constexpr int tile_warps = 32 / sizeof(compute_t<T>);

/// One warp for each tile of `rows` rows; with shared memory for sums, or without.
template <storage_scalar T>
launch_shape tile_shape(index_t rows, index_t elements, bool sums) {
  constexpr index_t warps = tile_warps<T>;
  const index_t tiles = (elements - 1) / warp_tile<T>::size + 1;
  return {.blocks = (rows * tiles - 1) / warps + 1,
          .warps = static_cast<int>(warps),
          .shared_bytes = sums ? warps * warp_tile<T>::size * static_cast<index_t>(sizeof(compute_t<T>)) : 0};
}

}  // namespace tempflow::detail
