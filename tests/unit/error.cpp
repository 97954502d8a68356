// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Errors say what was wrong in numbers that read back as they were.

#include "tempflow/core/error.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "support/catch.hpp"
#include "tempflow/core/numeric.hpp"

TEST_CASE("a message joins texts and numbers, and its numbers read back exactly", "[error]") {
  const double third = 1.0 / 3;
  const std::string text =
      tempflow::detail::message("third = ", third, ", row ", 12, " of ", std::size_t{34});
  CHECK(text == "third = 0.3333333333333333, row 12 of 34");
  CHECK(std::stod(tempflow::detail::message(third)) == third);
  CHECK(tempflow::detail::message(0.7) == "0.7");
  CHECK(tempflow::detail::message(std::numeric_limits<double>::quiet_NaN()) == "nan");
  CHECK(tempflow::detail::message(-std::numeric_limits<double>::infinity()) == "-inf");
}

TEST_CASE("every error is a tempflow::error, and that a std::runtime_error", "[error]") {
  STATIC_REQUIRE(std::is_base_of_v<tempflow::error, tempflow::shape_error>);
  STATIC_REQUIRE(std::is_base_of_v<tempflow::error, tempflow::value_error>);
  STATIC_REQUIRE(std::is_base_of_v<tempflow::error, tempflow::schedule_error>);
  STATIC_REQUIRE(std::is_base_of_v<tempflow::error, tempflow::group_error>);
  STATIC_REQUIRE(std::is_base_of_v<std::runtime_error, tempflow::error>);
}

TEST_CASE("is_finite tells numbers from infinities and NaN", "[numeric]") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  constexpr float infinity_f = std::numeric_limits<float>::infinity();
  CHECK(tempflow::is_finite(0.0));
  CHECK(tempflow::is_finite(-std::numeric_limits<double>::max()));
  CHECK(tempflow::is_finite(std::numeric_limits<double>::denorm_min()));
  CHECK_FALSE(tempflow::is_finite(infinity));
  CHECK_FALSE(tempflow::is_finite(-infinity));
  CHECK_FALSE(tempflow::is_finite(std::nan("")));
  CHECK(tempflow::is_finite(std::numeric_limits<float>::max()));
  CHECK_FALSE(tempflow::is_finite(infinity_f));
  CHECK_FALSE(tempflow::is_finite(-infinity_f));
  CHECK_FALSE(tempflow::is_finite(std::nanf("")));
}

TEST_CASE("a fused multiply-add rounds once", "[numeric]") {
  // (1 + e)(1 - e) - 1 = -e^2, which a rounded product loses.
  CHECK(tempflow::fused_multiply_add(1 + 0x1p-20f, 1 - 0x1p-20f, -1.0f) == -0x1p-40f);
  CHECK(tempflow::fused_multiply_add(1 + 0x1p-40, 1 - 0x1p-40, -1.0) == -0x1p-80);
}
