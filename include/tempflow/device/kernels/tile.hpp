// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A tile of 1,024 elements: what a warp works on, 32 elements per lane. Rows of the tile's storage type are read and
// written 16 bytes per lane, neighbours next to each other; rows of another type as many elements at once.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "tempflow/config.hpp"
#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/scalar.hpp"
#include "tempflow/device/launch_shape.hpp"

namespace tempflow::detail {

/// Calls body.operator()<0>(), ..., spelt out so that arrays stay in registers.
template <int Count, class Body>
TEMPFLOW_INLINE_DEVICE void static_for(const Body& body) {
  [&]<int... Index>(std::integer_sequence<int, Index...>) { (body.template operator()<Index>(), ...); }
  (std::make_integer_sequence<int, Count>{});
}

/// Calls body(std::true_type{}) or body(std::false_type{}).
template <class Body>
TEMPFLOW_INLINE_DEVICE void dispatch_bool(bool condition, const Body& body) {
  if (condition) {
    body(std::true_type{});
  } else {
    body(std::false_type{});
  }
}

/// How often memory is read, as far as a kernel knows.
enum class reads { once, again };

/// The part of a tile that a lane holds, for rows stored as T.
template <storage_scalar T>
struct warp_tile {
  static constexpr int size = 1024;
  static constexpr int elements_per_lane = size / warp_lanes;
  static constexpr int width = 16 / sizeof(T);  ///< elements of an access
  static constexpr int accesses = elements_per_lane / width;
  static constexpr int stride = warp_lanes * width;  ///< elements from one access to the next
  static_assert(size == tiled_arithmetic::tile && warp_lanes == group);

  /// The elements of an access to a row stored as G.
  template <storage_scalar G>
  using words = access_words<width * sizeof(G)>;

  index_t row;
  index_t index;  ///< of the tile in its row
  index_t first;  ///< the lane's first element in its row
  int count;      ///< elements of the tile; none beyond the row's end
  int lane;

  TEMPFLOW_INLINE_DEVICE warp_tile(index_t row_of_tile, index_t index_in_row, index_t elements,
                                   int lane_of_warp)
      : row(row_of_tile),
        index(index_in_row),
        first(index_in_row * size + lane_of_warp * width),
        count(elements - index_in_row * size < size ? static_cast<int>(elements - index_in_row * size)
                                                    : size),
        lane(lane_of_warp) {}

  /// The lane's elements of a row that begins at `elements`: accesses lie at constant distances from there.
  template <storage_scalar G>
  TEMPFLOW_INLINE_DEVICE const G* of(const G* elements) const {
    return elements + first;
  }
  template <storage_scalar G>
  TEMPFLOW_INLINE_DEVICE G* of(G* elements) const {
    return elements + first;
  }

  TEMPFLOW_INLINE_DEVICE const std::uint8_t* of(const std::uint8_t* mask) const { return mask + first; }

  /// Whether all accesses are whole and on their boundaries; the same in all lanes.
  template <class... Elements>
  TEMPFLOW_INLINE_DEVICE bool whole(const Elements*... of_lane) const {
    return count == size &&
           ((reinterpret_cast<std::uintptr_t>(of_lane) % alignof(words<Elements>)) | ... | 0) == 0;
  }

  /// The same for a mask's.
  TEMPFLOW_INLINE_DEVICE bool whole_mask(const std::uint8_t* of_lane) const {
    return count == size && reinterpret_cast<std::uintptr_t>(of_lane) % width == 0;
  }

  /// The tile's elements from the lane's at an access on; it may touch as many.
  TEMPFLOW_INLINE_DEVICE int left(int access) const { return count - access * stride - lane * width; }

  /// Reads an access; zeros beyond the row. Whole accesses are the thread's to read.
  template <bool Whole, reads Often = reads::once, class Thread, storage_scalar R>
  TEMPFLOW_INLINE_DEVICE words<R> read(const Thread& thread, const R* of_lane, int access) const {
    const R* const from = of_lane + access * stride;
    if constexpr (Whole && Often == reads::once) {
      return thread.template read_once<sizeof(words<R>)>(from);
    } else if constexpr (Whole) {
      return thread.template read<sizeof(words<R>)>(from);
    } else {
      struct {
        R value[width];
      } elements;
      const int there = left(access);
      for (int j = 0; j < width; ++j) elements.value[j] = j < there ? from[j] : R{};
      return bit_cast<words<R>>(elements);
    }
  }

  /// Reads a mask for an access; 0 beyond the row.
  template <bool Whole, class Thread>
  TEMPFLOW_INLINE_DEVICE access_bytes<width> read_mask(const Thread& thread, const std::uint8_t* of_lane,
                                                       int access) const {
    const std::uint8_t* const from = of_lane + access * stride;
    if constexpr (Whole) {
      return thread.template read_bytes<width>(from);
    } else {
      access_bytes<width> bytes{};
      const int there = left(access);
      for (int j = 0; j < width; ++j) {
        const std::uint32_t byte = j < there ? from[j] : 0u;
        bytes.word[j / 4] |= byte << (j % 4 * 8);
      }
      return bytes;
    }
  }

  template <bool Whole, class Thread, storage_scalar G>
  TEMPFLOW_INLINE_DEVICE void write(const Thread& thread, G* of_lane, int access,
                                    const words<G>& values) const {
    G* const to = of_lane + access * stride;
    if constexpr (Whole) {
      thread.write(to, values);
    } else {
      struct all {
        G value[width];
      };
      const auto elements = bit_cast<all>(values);
      const int there = left(access);
      for (int j = 0; j < width; ++j) {
        if (j < there) to[j] = elements.value[j];
      }
    }
  }

  /// Calls visit(access) for each access that has elements: spelt out in whole tiles, a loop in others.
  /// Barriers keep compilers from beginning more accesses than there are registers for.
  template <bool Whole, class Thread, class Visit>
  TEMPFLOW_INLINE_DEVICE void each_access(const Thread& thread, const Visit& visit) const {
    if constexpr (Whole) {
      static_for<accesses>([&]<int At>() {
        visit(At);
        if constexpr ((At + 1) * width % 8 == 0) thread.sync_warp();
      });
    } else {
      for (int at = 0; at * stride < count; ++at) {
        visit(at);
        thread.sync_warp();
      }
    }
  }

  /// Calls visit(access, words) for each access, with the elements of all rows there.
  template <bool Whole, reads Often = reads::once, class Thread, storage_scalar R, int Rows, class Visit>
  TEMPFLOW_INLINE_DEVICE void each_read(const Thread& thread, const R* const (&of_lane)[Rows],
                                        const Visit& visit) const {
    constexpr int at_once = Whole ? (Rows == 1 ? 4 : 2) : 1;
    words<R> values[at_once][Rows];
    each_turn<Whole, at_once, false>(
        thread,
        [&](int slot, int access) {
          static_for<Rows>(
              [&]<int I>() { values[slot][I] = read<Whole, Often>(thread, of_lane[I], access); });
        },
        [&](int slot, int access) { visit(access, values[slot]); });
  }

  /// Calls visit(access, words, words) for each access, with those of states and of velocities. First: see
  /// each_turn.
  template <bool Whole, reads Often = reads::once, bool First = false, class Thread, int States,
            storage_scalar V, int Velocities, class Visit>
  TEMPFLOW_INLINE_DEVICE void each_read(const Thread& thread, const T* const (&states)[States],
                                        const V* const (&velocities)[Velocities], const Visit& visit) const {
    constexpr int at_once = Whole ? 2 : 1;
    words<T> x[at_once][States];
    words<V> v[at_once][Velocities];
    each_turn<Whole, at_once, First>(
        thread,
        [&](int slot, int access) {
          static_for<States>([&]<int I>() { x[slot][I] = read<Whole, Often>(thread, states[I], access); });
          static_for<Velocities>(
              [&]<int I>() { v[slot][I] = read<Whole, Often>(thread, velocities[I], access); });
        },
        [&](int slot, int access) { visit(access, x[slot], v[slot]); });
  }

  /// Calls visit(access, words, words, bytes) for each access, with the mask's bytes too.
  template <bool Whole, reads Often = reads::once, class Thread, int States, storage_scalar V, int Velocities,
            class Visit>
  TEMPFLOW_INLINE_DEVICE void each_read(const Thread& thread, const T* const (&states)[States],
                                        const V* const (&velocities)[Velocities], const std::uint8_t* mask,
                                        const Visit& visit) const {
    constexpr int at_once = Whole ? 2 : 1;
    words<T> x[at_once][States];
    words<V> v[at_once][Velocities];
    access_bytes<width> counts[at_once];
    each_turn<Whole, at_once, false>(
        thread,
        [&](int slot, int access) {
          static_for<States>([&]<int I>() { x[slot][I] = read<Whole, Often>(thread, states[I], access); });
          static_for<Velocities>(
              [&]<int I>() { v[slot][I] = read<Whole, Often>(thread, velocities[I], access); });
          counts[slot] = read_mask<Whole>(thread, mask, access);
        },
        [&](int slot, int access) { visit(access, x[slot], v[slot], counts[slot]); });
  }

 private:
  /// Calls read_into(slot, access) for a few accesses, and then visit(slot, access) for them, so that memory has enough
  /// to do; the barriers hold compilers to no more than there are registers for. First: the barriers also keep them
  /// from putting reads off until a visit needs them, which matters where it does much before.
  template <bool Whole, int AtOnce, bool First, class Thread, class Read, class Visit>
  TEMPFLOW_INLINE_DEVICE void each_turn(const Thread& thread, const Read& read_into,
                                        const Visit& visit) const {
    if constexpr (Whole) {
      static_for<accesses / AtOnce>([&]<int Turn>() {
        static_for<AtOnce>([&]<int Slot>() { read_into(Slot, Turn * AtOnce + Slot); });
        if constexpr (First) thread.sync_warp();
        static_for<AtOnce>([&]<int Slot>() { visit(Slot, Turn * AtOnce + Slot); });
        thread.sync_warp();
      });
    } else {
      each_access<Whole>(thread, [&](int access) {
        read_into(0, access);
        visit(0, access);
      });
    }
  }
};

/// Warps of a block in kernels that give each warp a tile.
template <storage_scalar T>
inline constexpr int tile_warps = 32 / sizeof(compute_t<T>);

/// One warp for each tile of `rows` rows. A block has tiles of one row, or all of a few.
template <storage_scalar T>
launch_shape tile_shape(index_t rows, index_t elements) {
  constexpr index_t most = tile_warps<T>;
  const index_t tiles = (elements - 1) / warp_tile<T>::size + 1, blocks = (tiles - 1) / most + 1,
                warps = (tiles - 1) / blocks + 1, warp_rows = (std::min)(rows, most / warps);
  return {.blocks = blocks,
          .rows = (rows - 1) / warp_rows + 1,
          .warps = static_cast<int>(warps),
          .warp_rows = static_cast<int>(warp_rows)};
}

}  // namespace tempflow::detail
