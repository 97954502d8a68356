// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Sums of rows: a fixed order, and as accurate as the tiled arithmetic promises.

#include "tempflow/core/arithmetic.hpp"

#include <cmath>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "tempflow/ops/host/row.hpp"
#include "tempflow/ops/host/run_rows.hpp"

using tempflow::index_t;
using tempflow::plain_double_arithmetic;
using tempflow::tiled_arithmetic;

namespace {

// Sum of squares of a row's numbers, as rows are summed: tile by tile.
template <class Arithmetic, class T>
double sum_of_squares(const std::vector<T>& row) {
  double total = 0;
  const tempflow::detail::row_tiles<Arithmetic> tiles{static_cast<index_t>(row.size())};
  for (index_t t = 0; t < tiles.count(); ++t) {
    const auto square = [&](auto at, auto& partial) {
      const auto value = at(row.data());
      partial[0] = tempflow::fused_multiply_add(value, value, partial[0]);
    };
    total += Arithmetic::template sum<1, tempflow::instruction_set::portable, T>(tiles.first(t),
                                                                                 tiles.last(t), square)
                 .value[0];
  }
  return total;
}

}  // namespace

TEST_CASE("tiles cover a row once, in order, in pieces of at most 1,024", "[arithmetic]") {
  for (const index_t size : {0, 1, 31, 1023, 1024, 1025, 2048, 2345}) {
    index_t reached = 0;
    bool in_order = true, small = true;
    const tempflow::detail::row_tiles<tiled_arithmetic> tiles{size};
    for (index_t t = 0; t < tiles.count(); ++t) {
      in_order = in_order && tiles.first(t) == reached && reached % 4 == 0;  // noise comes in blocks of four
      small = small && tiles.last(t) - tiles.first(t) <= 1024;
      reached = tiles.last(t);
    }
    INFO(size << " elements");
    CHECK(reached == size);
    CHECK(in_order);
    CHECK(small);
  }
}

TEST_CASE("sums of whole numbers are exact in every arithmetic and at every length", "[arithmetic]") {
  for (const index_t size : {0, 1, 2, 3, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 2345}) {
    std::vector<float> row;
    double expected = 0;
    for (index_t e = 0; e < size; ++e) {
      row.push_back(static_cast<float>(e % 11));
      expected += static_cast<double>((e % 11) * (e % 11));
    }
    INFO(size << " elements");
    CHECK(sum_of_squares<tiled_arithmetic>(row) == expected);
    CHECK(sum_of_squares<plain_double_arithmetic>(row) == expected);
  }
}

TEST_CASE("a tiled fp32 sum of squares is within 40 x 2^-24 of the double sum, whatever the length",
          "[arithmetic]") {
  support::numbers source(3);
  for (const index_t size : {1, 7, 32, 1000, 1024, 10000, 262144}) {
    for (const double spread : {0.0, 3.0}) {
      std::vector<float> row;
      for (index_t e = 0; e < size; ++e) row.push_back(static_cast<float>(std::exp(spread * source.next())));
      double exact = 0;
      for (const float value : row) exact += static_cast<double>(value) * static_cast<double>(value);
      INFO(size << " elements, spread " << spread);
      CHECK(std::abs(sum_of_squares<tiled_arithmetic>(row) - exact) < 40 * 0x1p-24 * exact);
    }
  }
}

TEST_CASE("a bf16 row, read in halves of words, sums to the bits of the same numbers in fp32",
          "[arithmetic]") {
  support::numbers source(4);
  for (const index_t size : {1, 2, 31, 32, 33, 64, 1023, 1024, 1025, 5000}) {
    std::vector<tempflow::bfloat16> row;
    std::vector<float> same;
    for (index_t e = 0; e < size; ++e) {
      row.push_back(tempflow::store<tempflow::bfloat16>(source.next()));
      same.push_back(tempflow::load(row.back()));
    }
    INFO(size << " elements");
    CHECK(sum_of_squares<tiled_arithmetic>(row) == sum_of_squares<tiled_arithmetic>(same));
  }
}
