// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Philox4x32-10 against the known answers of Random123, its reference implementation.

#include "tempflow/core/philox.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <set>

#include "support/catch.hpp"

using tempflow::philox4x32;
using tempflow::philox_key;
using tempflow::philox_words;

TEST_CASE("philox4x32-10 gives Random123's known answers", "[philox]") {
  // The three philox4x32 10 lines of Random123's tests/kat_vectors: counter, key, output.
  CHECK(philox4x32({{0, 0, 0, 0}}, {{0, 0}}) ==
        philox_words{{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  CHECK(philox4x32({{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}}, {{0xffffffff, 0xffffffff}}) ==
        philox_words{{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  CHECK(philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, {{0xa4093822, 0x299f31d0}}) ==
        philox_words{{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST_CASE("philox can be evaluated while compiling", "[philox]") {
  constexpr philox_words drawn = philox4x32({{0, 0, 0, 0}}, {{0, 0}});
  STATIC_REQUIRE(drawn.word[0] == 0x6627e8d5);
}

TEST_CASE("one changed bit of counter or key changes about half of philox's output bits", "[philox]") {
  const philox_words counter{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}};
  const philox_key key{{0xa4093822, 0x299f31d0}};
  const philox_words base = philox4x32(counter, key);
  const auto changed = [&](const philox_words& other) {
    int bits = 0;
    for (int w = 0; w < 4; ++w) bits += std::popcount(base.word[w] ^ other.word[w]);
    return bits;
  };
  int total = 0, least = 128, most = 0;
  for (unsigned bit = 0; bit < 192; ++bit) {
    philox_words c = counter;
    philox_key k = key;
    (bit < 128 ? c.word[bit / 32] : k.word[(bit - 128) / 32]) ^= 1u << (bit % 32);
    const int bits = changed(philox4x32(c, k));
    total += bits;
    least = std::min(least, bits);
    most = std::max(most, bits);
  }
  // 128 fair coins a change: standard deviation 5.66 bits; 192 changes stay within 5 of them, their mean
  // within 4.
  CHECK(least > 64 - 29);
  CHECK(most < 64 + 29);
  CHECK(std::abs(total / 192.0 - 64) < 4 * 5.66 / std::sqrt(192.0));
}

TEST_CASE("distinct counters give distinct blocks", "[philox]") {
  std::set<std::array<std::uint32_t, 4>> blocks;
  for (std::uint32_t i = 0; i < 4096; ++i) {
    const philox_words drawn = philox4x32({{i % 16, i / 16 % 16, i / 256, 0}}, {{1, 2}});
    blocks.insert(std::to_array(drawn.word));
  }
  CHECK(blocks.size() == 4096);
}
