// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Box-Muller in fp32 against Box-Muller in double on the same bits.

#include "tempflow/core/normal.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>
#include <vector>

#include "support/catch.hpp"

namespace {

struct exact_pair {
  double first, second;
};

// The header's definition: u = ((radius_bits >> 1) | 1) / 2^31 rounded to fp32, t = angle_bits / 2^32.
exact_pair exact_box_muller(std::uint32_t radius_bits, std::uint32_t angle_bits) {
  const double u = static_cast<double>(static_cast<float>((radius_bits >> 1) | 1u)) * 0x1p-31;
  const double radius = std::sqrt(-2 * std::log(u));
  const double angle = 2 * std::numbers::pi * (static_cast<double>(angle_bits) * 0x1p-32);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

double error_of(std::uint32_t radius_bits, std::uint32_t angle_bits) {
  const auto exact = exact_box_muller(radius_bits, angle_bits);
  const auto computed = tempflow::box_muller(radius_bits, angle_bits);
  return std::max(std::abs(static_cast<double>(computed.first) - exact.first),
                  std::abs(static_cast<double>(computed.second) - exact.second));
}

// Where a polynomial or its range reduction would break: powers of two and their neighbours, multiples of the
// eighths of a turn and their neighbours, and the two ends.
std::vector<std::uint32_t> awkward_words() {
  std::vector<std::uint32_t> words;
  for (std::uint64_t eighth = 0; eighth <= 8; ++eighth) {
    for (std::uint64_t near = 0; near < 5; ++near)
      words.push_back(static_cast<std::uint32_t>((eighth << 29) + near - 2));
  }
  for (unsigned bit = 0; bit < 32; ++bit) {
    for (std::uint32_t near = 0; near < 3; ++near) words.push_back((1u << bit) + near - 1);
  }
  for (const double u :
       {std::numbers::sqrt2 / 2, std::numbers::sqrt2 / 4}) {  // the logarithm's range ends here
    for (std::uint32_t near = 0; near < 1024; ++near) {
      words.push_back(static_cast<std::uint32_t>(u * 0x1p32) + 16 * near - 8192);
    }
  }
  return words;
}

}  // namespace

TEST_CASE("normals are within 1e-6 of double Box-Muller on random bits", "[normal]") {
  std::mt19937 bits(1);
  double worst = 0;
  for (int i = 0; i < 1000000; ++i) {
    const auto radius = static_cast<std::uint32_t>(bits()), angle = static_cast<std::uint32_t>(bits());
    worst = std::max(worst, error_of(radius, angle));
  }
  CHECK(worst < 1e-6);
  CHECK(worst > 0);  // the comparison is between two computations
}

TEST_CASE("normals are within 1e-6 of double Box-Muller on awkward bits", "[normal]") {
  const auto words = awkward_words();
  const std::vector<std::uint32_t> others{0u, 1u, 0x12345678u, 0x80000000u, 0xfffffffeu, 0xffffffffu};
  double worst = 0;
  for (const std::uint32_t word : words) {
    for (const std::uint32_t other : others) {
      worst = std::max({worst, error_of(word, other), error_of(other, word)});
    }
  }
  CHECK(worst < 1e-6);
}

TEST_CASE("the largest normal is the root of 62 ln 2, and the smallest radius is zero", "[normal]") {
  const double largest = std::sqrt(62 * std::numbers::ln2);  // u = 2^-31
  CHECK(largest < 6.56);
  CHECK(std::abs(static_cast<double>(tempflow::box_muller(0, 0).first) - largest) < 1e-6);
  CHECK(std::abs(static_cast<double>(tempflow::box_muller(0, 0x80000000u).first) + largest) < 1e-6);
  CHECK(std::abs(static_cast<double>(tempflow::box_muller(0, 0x40000000u).second) - largest) < 1e-6);
  CHECK(std::abs(static_cast<double>(tempflow::box_muller(0, 0xc0000000u).second) + largest) < 1e-6);
  CHECK(tempflow::box_muller(0xffffffffu, 0).first == 0);  // u = 1
}

TEST_CASE("normals come in the order of the words they are made of", "[normal]") {
  const tempflow::philox_words bits{{0x01234567, 0x89abcdef, 0x76543210, 0xfedcba98}};
  const auto four = tempflow::box_muller(bits);
  const auto a = tempflow::box_muller(bits.word[0], bits.word[1]);
  const auto b = tempflow::box_muller(bits.word[2], bits.word[3]);
  CHECK(four.value[0] == a.first);
  CHECK(four.value[1] == a.second);
  CHECK(four.value[2] == b.first);
  CHECK(four.value[3] == b.second);
}
