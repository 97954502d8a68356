// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Views of batches: where elements lie, slices, and the errors of extents that make no sense.

#include "tempflow/core/batch_view.hpp"

#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/core/per_row.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::shape_error;

TEST_CASE("a packed view finds sample i at i times the columns", "[batch_view]") {
  std::vector<float> data(12);
  const batch_view<float> view(data.data(), 3, 4);
  CHECK(view.rows() == 3);
  CHECK(view.columns() == 4);
  CHECK(view.row_stride() == 4);
  CHECK(view.row(0) == data.data());
  CHECK(view.row(2) == data.data() + 8);
}

TEST_CASE("a strided view finds sample i at i times the stride", "[batch_view]") {
  std::vector<float> data(20);
  const batch_view<float> view(data.data() + 1, 3, 4, 7);
  CHECK(view.row_stride() == 7);
  CHECK(view.row(2) == data.data() + 15);
}

TEST_CASE("a slice is a view of some of the samples", "[batch_view]") {
  std::vector<float> data(20);
  const batch_view<float> view(data.data(), 4, 3, 5);
  const auto middle = view.slice(1, 2);
  CHECK(middle.rows() == 2);
  CHECK(middle.columns() == 3);
  CHECK(middle.row_stride() == 5);
  CHECK(middle.row(1) == view.row(2));
  CHECK(view.slice(4, 0).empty());
  CHECK(view.slice(0, 4).row(3) == view.row(3));
}

TEST_CASE("a slice past the end is an error that names both", "[batch_view]") {
  std::vector<float> data(20);
  const batch_view<float> view(data.data(), 4, 5);
  CHECK_THROWS_MATCHES(view.slice(2, 3), shape_error,
                       MessageMatches(ContainsSubstring("3 rows from row 2 of 4")));
  CHECK_THROWS_AS(view.slice(-1, 2), shape_error);
  CHECK_THROWS_AS(view.slice(0, -1), shape_error);
  CHECK_THROWS_AS(view.slice(5, 0), shape_error);
  CHECK_THROWS_AS(view.slice(1, std::numeric_limits<tempflow::index_t>::max()), shape_error);
}

TEST_CASE("extents that are negative or rows that overlap are errors that name the extents", "[batch_view]") {
  std::vector<float> data(20);
  CHECK_THROWS_MATCHES(batch_view<float>(data.data(), -1, 5), shape_error,
                       MessageMatches(ContainsSubstring("-1 rows of 5 elements")));
  CHECK_THROWS_MATCHES(batch_view<float>(data.data(), 4, -5), shape_error,
                       MessageMatches(ContainsSubstring("4 rows of -5 elements")));
  CHECK_THROWS_MATCHES(batch_view<float>(data.data(), 4, 5, 3), shape_error,
                       MessageMatches(ContainsSubstring("4 rows of 5 elements, 3 apart")));
  CHECK_THROWS_AS(batch_buffer<float>(-1, 2), shape_error);
  CHECK_THROWS_AS(batch_buffer<float>(1, -2), shape_error);
}

TEST_CASE("a null pointer is an error only where there are elements", "[batch_view]") {
  float* const nothing = nullptr;
  CHECK_THROWS_MATCHES(batch_view<float>(nothing, 2, 3), shape_error,
                       MessageMatches(ContainsSubstring("2 x 3")));
  CHECK(batch_view<float>(nothing, 0, 3).empty());
  CHECK(batch_view<float>(nothing, 2, 0).empty());
  CHECK(batch_view<float>().rows() == 0);
}

TEST_CASE("one row may have any stride", "[batch_view]") {
  std::vector<float> data(5);
  CHECK(batch_view<float>(data.data(), 1, 5, 0).row(0) == data.data());
}

TEST_CASE("a view for writing becomes a view for reading, and never the other way", "[batch_view]") {
  std::vector<float> data(20);
  const batch_view<float> view(data.data(), 2, 3, 5);
  const batch_view<const float> reading = view;
  CHECK(reading.row(1) == view.row(1));
  CHECK(reading.row_stride() == 5);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<batch_view<const float>, batch_view<float>>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<batch_view<double>, batch_view<const float>>);
}

TEST_CASE("a buffer starts as zeros and hands out views of itself", "[batch_view]") {
  batch_buffer<double> buffer(2, 3);
  const auto& constant = buffer;
  double sum = 0;
  for (int i = 0; i < 6; ++i) sum += std::abs(constant.view().data()[i]);
  CHECK(sum == 0);
  buffer.view().row(1)[2] = 5;
  CHECK(constant.view().row(1)[2] == 5);
  const batch_buffer<float> nothing;
  CHECK(nothing.view().empty());
}

TEST_CASE("a per-row argument is one value for all rows or one value each", "[per_row]") {
  const tempflow::per_row<double> same(2.5);
  CHECK(same[0] == 2.5);
  CHECK(same[1000] == 2.5);
  CHECK(same.covers(7));
  const std::vector<double> values{1, 2, 3};
  const tempflow::per_row<double> each(values);
  CHECK(each[2] == 3);
  CHECK(each.covers(3));
  CHECK_FALSE(each.covers(2));
  CHECK(each.size() == 3);
}
