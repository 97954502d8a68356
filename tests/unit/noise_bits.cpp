// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The noise's bits, recorded: a seed that somebody wrote down draws the same noise for ever.

#include <cstdint>

#include "support/catch.hpp"
#include "tempflow/core/noise.hpp"

using tempflow::index_t;
using tempflow::noise_id;
using tempflow::noise_key;

namespace {

// FNV-1a over words.
struct word_hash {
  std::uint64_t value = 0xcbf29ce484222325ull;

  void add(float real) { value = (value ^ tempflow::bit_cast<std::uint32_t>(real)) * 0x100000001b3ull; }
};

void check_block(noise_key key, noise_id id, index_t block, const tempflow::normal_quad& expected) {
  const auto drawn = tempflow::noise_block(key, id, block);
  for (int k = 0; k < 4; ++k) CHECK(drawn.value[k] == expected.value[k]);
}

}  // namespace

TEST_CASE("literal identities draw the recorded normals", "[noise]") {
  check_block({}, {}, 0, {{0x1.fb7662p-1f, -0x1.d96d6p-1f, -0x1.3c373ep-1f, -0x1.eda364p-2f}});
  check_block({.seed = 42, .update = 7}, {.prompt = 3, .seed = 1, .step = 2, .branch = 5}, 11,
              {{0x1.a01856p+0f, -0x1.1de4e6p-1f, 0x1.80c264p-1f, 0x1.469a5cp+0f}});
  check_block({.seed = 0xffffffff, .update = 1},
              {.prompt = 0xfffffffe, .seed = 0x80000000, .step = 0xffff, .branch = 0x8000},
              index_t{0xffffffff}, {{0x1.7d5068p+0f, 0x1.883a2cp-1f, 0x1.af70f6p-1f, -0x1.89405cp+1f}});
}

TEST_CASE("262,144 normals have the recorded bits", "[noise]") {
  word_hash bits;
  for (index_t block = 0; block < (1 << 16); ++block) {
    const auto drawn = tempflow::noise_block({.seed = 42, .update = 7},
                                             {.prompt = 3, .seed = 1, .step = 2, .branch = 5}, block);
    for (const float normal : drawn.value) bits.add(normal);
  }
  CHECK(bits.value == 0xb722f33caf235b5e);
}

TEST_CASE("normals of extreme words have the recorded bits, signs of zeros included", "[noise]") {
  word_hash bits;
  for (const std::uint32_t radius :
       {0u, 1u, 2u, 0x7fffffffu, 0x80000000u, 0xfffffdffu, 0xfffffeffu, 0xffffffffu}) {
    for (std::uint32_t eighth = 0; eighth < 8; ++eighth) {
      for (std::uint32_t near = 0; near < 5; ++near) {
        const auto pair = tempflow::box_muller(radius, (eighth << 29) + near - 2);
        bits.add(pair.first);
        bits.add(pair.second);
      }
    }
  }
  CHECK(bits.value == 0x51222c138fe8e021);
}
