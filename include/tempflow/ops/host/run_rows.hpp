// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a row kernel meets a backend: a row for each index, or, for rows too few to keep all threads busy, a
// part of a row for each. Both add the sums of a row's tiles in the order of the tiles, so the bits are the
// same.
//
// A row kernel has
//   elements()                            of a row
//   nanoseconds()                         of an element, roughly
//   sums_before(i)                        doubles that tiles of rows before row i add to; of row i itself it has
//                                         sums_before(i + 1) - sums_before(i)
//   tile(i, first, last, sums, isa)       the first pass over elements [first, last) of row i; adds to its sums
//   conclude(i, sums)                     once the sums of row i are complete
// and, where the elements have to be visited again, conclude returns whether, and
//   second_pass(i, first, last, isa)      follows
//   finish(i)                             ends the row, and
//   fence()                               makes what this thread wrote visible to others.

#include <algorithm>
#include <span>
#include <vector>

#include "tempflow/backend/backend.hpp"
#include "tempflow/backend/dispatch.hpp"
#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/instruction_set.hpp"

namespace tempflow::detail {

template <class Kernel>
concept has_second_pass = requires(const Kernel& kernel) {
  kernel.finish(index_t{});
};

/// The tiles of a row.
template <class Arithmetic>
struct row_tiles {
  index_t elements;

  TEMPFLOW_INLINE_HOST index_t count() const {
    return elements > 0 ? (elements - 1) / Arithmetic::tile + 1 : 0;
  }
  TEMPFLOW_INLINE_HOST index_t first(index_t tile) const { return tile * Arithmetic::tile; }
  TEMPFLOW_INLINE_HOST index_t last(index_t tile) const {
    return elements - first(tile) > Arithmetic::tile ? first(tile) + Arithmetic::tile : elements;
  }
};

/// The sums of a row's tiles are added up in lanes, tile t in lane t mod 32, which a fixed tree then folds,
/// as a warp of a GPU does it.
inline constexpr index_t tile_lanes = 32;

/// Doubles that a tile adds to its row's.
template <class Kernel>
TEMPFLOW_INLINE_HOST index_t sums_of(const Kernel& rows, index_t i) {
  return rows.sums_before(i + 1) - rows.sums_before(i);
}

/// Adds up the sums that the tiles of a row left in its lanes, into the first of them.
inline void fold_tile_lanes(double* lanes, index_t count, index_t width) {
  for (index_t half = tile_lanes / 2; half > 0; half /= 2) {
    for (index_t l = 0; l < half && l + half < count; ++l) {
      for (index_t s = 0; s < width; ++s) lanes[l * width + s] += lanes[(l + half) * width + s];
    }
  }
}

/// Rows, or parts of rows: index = row * parts + part. Both passes of a whole row follow each other while it is in the
/// cache. One body for all, so that the text of a tile is compiled once.
template <class Kernel>
struct row_body {
  using kernel_tag = kernel;

  const Kernel& rows;
  index_t parts;                    ///< of each row
  index_t slots;                    ///< that tiles add to: the lanes of a whole row, or one for each tile
  std::span<double> sums;           ///< of each row: slots x its sums
  std::span<const char> revisited;  ///< the second pass over parts: the rows that need it; else empty

  double nanoseconds() const {
    return rows.nanoseconds() * static_cast<double>(rows.elements()) / static_cast<double>(parts);
  }

  template <class Instructions = compiled_for_any>
  TEMPFLOW_INLINE_HOST void operator()(index_t index, Instructions isa = {}) const {
    const row_tiles<typename Kernel::arithmetic> tiles{rows.elements()};
    const index_t i = index / parts, part = index % parts, count = tiles.count();
    const index_t begin = count * part / parts, end = count * (part + 1) / parts;
    const bool whole = parts == 1;
    bool again = !revisited.empty() && revisited[static_cast<std::size_t>(i)] != 0;
    if (revisited.empty()) {
      const index_t width = sums_of(rows, i);
      double* const row_sums = sums.data() + rows.sums_before(i) * slots;
      for (index_t t = begin; t < end; ++t) {
        rows.tile(i, tiles.first(t), tiles.last(t), row_sums + (whole ? t % tile_lanes : t) * width, isa);
      }
      if (whole) {
        fold_tile_lanes(row_sums, slots, width);
        again = conclude(i, row_sums);
      }
    }
    if constexpr (has_second_pass<Kernel>) {
      if (again) {  // from the last tile to the first: the last are still in the cache
        for (index_t t = end - 1; t >= begin; --t) rows.second_pass(i, tiles.first(t), tiles.last(t), isa);
      }
      if (whole) rows.finish(i);
      rows.fence();
    }
  }

  /// Whether the row needs a second pass.
  TEMPFLOW_INLINE_HOST bool conclude(index_t i, const double* row_sums) const {
    if constexpr (has_second_pass<Kernel>) {
      return rows.conclude(i, row_sums);
    } else {
      rows.conclude(i, row_sums);
      return false;
    }
  }
};

/// Parts that each of `rows` rows is cut into: 1 unless threads would idle for a fifth of the time or more.
template <host_backend B>
index_t row_parts(const B& backend, index_t rows, index_t tiles) {
  if constexpr (parallel_backend<B>) {
    const auto threads = (std::max)(index_t{1}, static_cast<index_t>(backend.threads()));
    const index_t rounds = (rows - 1) / threads + 1;
    constexpr index_t tiles_worth_a_part = 16;
    if (rows * 5 > threads * rounds * 4) return 1;
    return std::clamp(tiles / tiles_worth_a_part, index_t{1}, threads);
  }
  return 1;
}

/// Runs a kernel over `rows` rows.
template <host_backend B, class Kernel>
void run_rows(const B& backend, index_t rows, const Kernel& kernel) {
  if (rows < 1) return;
  const index_t tiles = row_tiles<typename Kernel::arithmetic>{kernel.elements()}.count(),
                all_sums = kernel.sums_before(rows);
  const index_t parts = row_parts(backend, rows, tiles), lanes = std::clamp(tiles, index_t{1}, tile_lanes);
  std::vector<double> sums(static_cast<std::size_t>(all_sums * (parts == 1 ? lanes : lanes + tiles)));
  if (parts == 1) return backend.for_each_index(rows, row_body<Kernel>{kernel, 1, lanes, sums, {}});

  const std::span<double> lane_sums(sums.data(), static_cast<std::size_t>(all_sums * lanes));
  const std::span<double> tile_sums = std::span(sums).subspan(lane_sums.size());
  row_body<Kernel> body{kernel, parts, tiles, tile_sums, {}};
  backend.for_each_index(rows * parts, body);
  std::vector<char> revisited(static_cast<std::size_t>(rows));
  for (index_t i = 0; i < rows; ++i) {
    const index_t width = sums_of(kernel, i);
    double* const of_row = lane_sums.data() + kernel.sums_before(i) * lanes;
    const double* const of_tiles = tile_sums.data() + kernel.sums_before(i) * tiles;
    for (index_t t = 0; t < tiles; ++t) {
      for (index_t s = 0; s < width; ++s) of_row[t % tile_lanes * width + s] += of_tiles[t * width + s];
    }
    fold_tile_lanes(of_row, lanes, width);
    revisited[static_cast<std::size_t>(i)] = body.conclude(i, of_row) ? 1 : 0;
  }
  if constexpr (has_second_pass<Kernel>) {
    if (std::find(revisited.begin(), revisited.end(), 1) != revisited.end()) {
      body.revisited = revisited;
      backend.for_each_index(rows * parts, body);
    }
    for (index_t i = 0; i < rows; ++i) kernel.finish(i);
  }
}

}  // namespace tempflow::detail
