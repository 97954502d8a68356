// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The 16-bit storage types: every value, and rounding to nearest even between every two neighbours.

#include "tempflow/core/scalar.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "support/catch.hpp"

using tempflow::bfloat16;
using tempflow::float16;

namespace {

// What distinguishes the two formats: value = (-1)^s 2^(e - bias) (1 + f / 2^bits), subnormal where e = 0.
template <class T>
struct format;

template <>
struct format<float16> {
  static constexpr int exponent_bits = 5, fraction_bits = 10, bias = 15;
};

template <>
struct format<bfloat16> {
  static constexpr int exponent_bits = 8, fraction_bits = 7, bias = 127;
};

template <class T>
constexpr std::uint16_t infinity_bits = static_cast<std::uint16_t>(((1u << format<T>::exponent_bits) - 1)
                                                                   << format<T>::fraction_bits);

template <class T>
T from_bits(unsigned bits) {
  return T{static_cast<std::uint16_t>(bits)};
}

// The number that non-negative finite bits stand for, by the definition of the format. The bits of infinity
// give 2^(largest exponent + 1), which is the place of infinity in rounding.
template <class T>
double defined_value(unsigned bits) {
  using f = format<T>;
  const int exponent = static_cast<int>(bits >> f::fraction_bits);
  const auto fraction = static_cast<int>(bits & ((1u << f::fraction_bits) - 1));
  return exponent == 0
             ? std::ldexp(fraction, 1 - f::bias - f::fraction_bits)
             : std::ldexp(fraction + (1 << f::fraction_bits), exponent - f::bias - f::fraction_bits);
}

float next_up(float value) { return std::nextafter(value, std::numeric_limits<float>::infinity()); }
float next_down(float value) { return std::nextafter(value, -std::numeric_limits<float>::infinity()); }

}  // namespace

TEMPLATE_TEST_CASE("each of the 65,536 bit patterns has the value that its format defines", "[scalar]",
                   float16, bfloat16) {
  int wrong = 0;
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float loaded = tempflow::load(from_bits<TestType>(bits));
    const unsigned magnitude = bits & 0x7fffu;
    const bool negative = bits >= 0x8000u;
    bool right = false;
    if (magnitude < infinity_bits<TestType>) {
      right = std::abs(static_cast<double>(loaded)) == defined_value<TestType>(magnitude) &&
              std::signbit(loaded) == negative;
    } else if (magnitude == infinity_bits<TestType>) {
      right = std::isinf(loaded) && std::signbit(loaded) == negative;
    } else {
      right = std::isnan(loaded);
    }
    wrong += right ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("each of the 65,536 bit patterns comes back from fp32 and from fp64", "[scalar]", float16,
                   bfloat16) {
  int wrong = 0;
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const auto original = from_bits<TestType>(bits);
    const float loaded = tempflow::load(original);
    for (const TestType stored :
         {tempflow::store<TestType>(loaded), tempflow::store<TestType>(static_cast<double>(loaded))}) {
      const bool right = std::isnan(loaded) ? std::isnan(tempflow::load(stored)) : stored == original;
      wrong += right ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("fp32 rounds to the nearest neighbour and ties to the even one", "[scalar]", float16,
                   bfloat16) {
  int wrong = 0;
  for (unsigned low = 0; low < infinity_bits<TestType>; ++low) {
    const unsigned high = low + 1, even = low % 2 == 0 ? low : high;
    // Exact in fp32: a midpoint needs one fraction bit more than its neighbours.
    const auto middle =
        static_cast<float>((defined_value<TestType>(low) + defined_value<TestType>(high)) / 2);
    const auto expect = [&](float value, unsigned expected) {
      wrong += tempflow::store<TestType>(value) == from_bits<TestType>(expected) ? 0 : 1;
      wrong += tempflow::store<TestType>(-value) == from_bits<TestType>(expected | 0x8000u) ? 0 : 1;
    };
    expect(middle, even);
    expect(next_up(middle), high);
    expect(next_down(middle), low);
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("fp64 rounds once, also where fp32 would land on a tie", "[scalar]", float16, bfloat16) {
  int wrong = 0;
  for (unsigned low = 0; low < infinity_bits<TestType>; ++low) {
    const unsigned high = low + 1, even = low % 2 == 0 ? low : high;
    const double middle = (defined_value<TestType>(low) + defined_value<TestType>(high)) / 2;
    const auto expect = [&](double value, unsigned expected) {
      wrong += tempflow::store<TestType>(value) == from_bits<TestType>(expected) ? 0 : 1;
      wrong += tempflow::store<TestType>(-value) == from_bits<TestType>(expected | 0x8000u) ? 0 : 1;
    };
    expect(middle, even);
    expect(std::nextafter(middle, 1e300), high);
    expect(std::nextafter(middle, 0.0), low);
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("numbers beyond the range become infinite, tiny ones zero with their sign", "[scalar]",
                   float16, bfloat16) {
  const auto infinity = from_bits<TestType>(infinity_bits<TestType>);
  const auto negative_infinity = from_bits<TestType>(infinity_bits<TestType> | 0x8000u);
  CHECK(tempflow::store<TestType>(std::numeric_limits<float>::infinity()) == infinity);
  CHECK(tempflow::store<TestType>(-std::numeric_limits<float>::infinity()) == negative_infinity);
  CHECK(tempflow::store<TestType>(std::numeric_limits<float>::max()) == infinity);
  CHECK(tempflow::store<TestType>(1e300) == infinity);
  CHECK(tempflow::store<TestType>(-1e300) == negative_infinity);
  CHECK(tempflow::store<TestType>(1e-300) == from_bits<TestType>(0));
  CHECK(tempflow::store<TestType>(-1e-300) == from_bits<TestType>(0x8000u));
  CHECK(tempflow::store<TestType>(0.0f) == from_bits<TestType>(0));
  CHECK(tempflow::store<TestType>(-0.0f) == from_bits<TestType>(0x8000u));
}

TEMPLATE_TEST_CASE("a NaN stays a NaN, whatever its payload", "[scalar]", float16, bfloat16) {
  for (const std::uint32_t bits :
       {0x7fc00000u, 0x7f800001u, 0x7fffffffu, 0xffc00000u, 0xff800001u, 0xffffffffu}) {
    INFO("bits " << bits);
    CHECK(std::isnan(tempflow::load(tempflow::store<TestType>(std::bit_cast<float>(bits)))));
  }
  CHECK(std::isnan(tempflow::load(tempflow::store<TestType>(std::numeric_limits<double>::quiet_NaN()))));
}

TEST_CASE("the largest half is 65504, and 65520 is the first number that rounds to infinity", "[scalar]") {
  CHECK(tempflow::load(float16{0x7bff}) == 65504.0f);
  CHECK(tempflow::store<float16>(next_down(65520.0f)) == float16{0x7bff});
  CHECK(tempflow::store<float16>(65520.0f) == float16{0x7c00});
}

TEST_CASE("arithmetic happens in fp32, and in fp64 for fp64 storage", "[scalar]") {
  STATIC_REQUIRE(std::is_same_v<tempflow::compute_t<float>, float>);
  STATIC_REQUIRE(std::is_same_v<tempflow::compute_t<bfloat16>, float>);
  STATIC_REQUIRE(std::is_same_v<tempflow::compute_t<float16>, float>);
  STATIC_REQUIRE(std::is_same_v<tempflow::compute_t<double>, double>);
  STATIC_REQUIRE(sizeof(bfloat16) == 2);
  STATIC_REQUIRE(sizeof(float16) == 2);
}
