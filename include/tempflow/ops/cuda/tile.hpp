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

#include "tempflow/backend/cuda/launch_shape.hpp"
#include "tempflow/config.hpp"
#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/scalar.hpp"

namespace tempflow::detail {

/// Neighbouring elements that a lane reads or writes at once.
template <storage_scalar T, int Width>
struct packet {
  T value[Width];
};

/// A number known to the compiler, on the device too.
template <auto Value>
struct constant {
  TEMPFLOW_HD constexpr operator decltype(Value)() const { return Value; }
};

/// Calls body(constant<0>{}), ..., spelt out so that arrays stay in registers.
template <int Count, class Body>
TEMPFLOW_INLINE_DEVICE void unrolled(const Body& body) {
  [&]<int... Index>(std::integer_sequence<int, Index...>) TEMPFLOW_INLINE_LAMBDA {
    (body(constant<Index>{}), ...);
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
TEMPFLOW_INLINE_DEVICE Real fold(const Thread& here, Real partial) {
  for (int half = warp_lanes / 2; half > 0; half /= 2) partial += here.shuffle_xor(partial, half);
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

  /// Reads an access; zeros beyond the row. Whole accesses are the thread's to read: here.read<bytes>(from).
  template <bool Whole, class Thread, storage_scalar G>
  TEMPFLOW_INLINE_DEVICE packet<G, width> read(const Thread& here, const G* elements, int access) const {
    packet<G, width> values;
    const int skip = offset(access);
    const G* const from = elements + first + skip;
    if constexpr (Whole) {
      values = bit_cast<packet<G, width>>(here.template read<sizeof values>(from));
    } else {
      for (int j = 0; j < width; ++j) values.value[j] = skip + j < count ? from[j] : G{};
    }
    return values;
  }

  template <bool Whole, class Thread, storage_scalar G>
  TEMPFLOW_INLINE_DEVICE void write(const Thread& here, G* elements, int access,
                                    const packet<G, width>& values) const {
    const int skip = offset(access);
    G* const to = elements + first + skip;
    if constexpr (Whole) {
      here.write(to, bit_cast<access_words<sizeof values>>(values));
    } else {
      for (int j = 0; j < width; ++j) {
        if (skip + j < count) to[j] = values.value[j];
      }
    }
  }

  /// Calls visit(access, packets) for each access, with the elements of all rows there. Some accesses are read
  /// before the first is visited, so that memory has enough to do, and no more than there are registers for.
  template <bool Whole, class Thread, class Visit, int Rows>
  TEMPFLOW_INLINE_DEVICE void each_access(const Thread& here, const T* const (&rows)[Rows],
                                          const Visit& visit) const {
    constexpr int ahead = !Whole ? 1 : accesses < 4 ? accesses : 4;
    unrolled<accesses / ahead>([&](auto turn) TEMPFLOW_INLINE_LAMBDA {
      packet<T, width> values[ahead][Rows];
      unrolled<ahead>([&](auto a) TEMPFLOW_INLINE_LAMBDA {
        unrolled<Rows>([&](auto row_of) TEMPFLOW_INLINE_LAMBDA {
          values[a][row_of] = read<Whole>(here, rows[row_of], turn * ahead + a);
        });
      });
      unrolled<ahead>([&](auto a) TEMPFLOW_INLINE_LAMBDA { visit(turn * ahead + a, values[a]); });
      here.sync_warp();
    });
  }

  /// The sum of squares of the tile's values, in all lanes. slab: 1,024 reals of the warp's own.
  template <class Thread>
  TEMPFLOW_INLINE_DEVICE double sum_of_squares(const Thread& here, const real (&value)[of_lane],
                                               real* slab) const {
    here.sync_warp();
    unrolled<accesses>([&](auto access) TEMPFLOW_INLINE_LAMBDA {
      for (int j = 0; j < width; ++j) slab[offset(access) + j] = value[access * width + j];
    });
    here.sync_warp();
    real partial = 0;
    unrolled<of_lane>([&](auto visit) TEMPFLOW_INLINE_LAMBDA {
      const real element = slab[visit * group + lane];
      partial = fused_multiply_add(element, element, partial);
    });
    return static_cast<double>(fold(here, partial));
  }
};

/// Calls body(constant<true>{}) or body(constant<false>{}).
template <class Body>
TEMPFLOW_INLINE_DEVICE void either(bool condition, const Body& body) {
  if (condition) {
    body(constant<true>{});
  } else {
    body(constant<false>{});
  }
}

/// A warp's own part of the shared memory of its block.
template <class T, class Thread>
TEMPFLOW_INLINE_DEVICE compute_t<T>* slab_of(const Thread& here) {
  return reinterpret_cast<compute_t<T>*>(here.shared()) + here.warp() * warp_tile<T>::size;
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
