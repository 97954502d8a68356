// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Sums of rows: a fixed order, and as accurate as the tiled arithmetic promises.

#include "tempflow/core/arithmetic.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "tempflow/ops/row.hpp"

using tempflow::index_t;
using tempflow::plain_double_arithmetic;
using tempflow::tiled_arithmetic;

namespace {

// Sum of squares of fp32 numbers, as rows are summed: tile by tile.
template <class Arithmetic, class Real>
double sum_of_squares(const std::vector<float>& row) {
  double total = 0;
  const auto size = static_cast<index_t>(row.size());
  tempflow::detail::for_each_tile<Arithmetic>(size, [&](index_t first, index_t last) {
    total += Arithmetic::template sum<Real>(first, last, [&](index_t e, Real partial) {
      const Real value{row[static_cast<std::size_t>(e)]};
      return tempflow::fused_multiply_add(value, value, partial);
    });
  });
  return total;
}

}  // namespace

TEST_CASE("tiles cover a row once, in order, in pieces of at most 1,024", "[arithmetic]") {
  for (const index_t size : {0, 1, 31, 1023, 1024, 1025, 2048, 2345}) {
    index_t reached = 0;
    bool in_order = true, small = true;
    tempflow::detail::for_each_tile<tiled_arithmetic>(size, [&](index_t first, index_t last) {
      in_order = in_order && first == reached && first % 4 == 0;  // noise comes in blocks of four
      small = small && last - first <= 1024;
      reached = last;
    });
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
    CHECK(sum_of_squares<tiled_arithmetic, float>(row) == expected);
    CHECK(sum_of_squares<plain_double_arithmetic, double>(row) == expected);
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
      CHECK(std::abs(sum_of_squares<tiled_arithmetic, float>(row) - exact) < 40 * 0x1p-24 * exact);
    }
  }
}
