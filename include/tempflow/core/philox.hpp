// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Philox4x32-10: a counter-based generator. Its output is a function of (counter, key) alone, so any element
// of any noise can be drawn anywhere, in any order, and drawn again instead of stored.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

#include <cstdint>

#include "tempflow/config.hpp"

namespace tempflow {

/// Four 32-bit words: a Philox counter or its random output.
struct philox_words {
  std::uint32_t word[4];

  friend constexpr bool operator==(const philox_words&, const philox_words&) = default;
};

/// Two 32-bit words that select the generator's stream.
struct philox_key {
  std::uint32_t word[2];

  friend constexpr bool operator==(const philox_key&, const philox_key&) = default;
};

namespace detail {

/// One round of Philox4x32 on a counter, and its key's step to the next round.
TEMPFLOW_HD constexpr void philox_round(std::uint32_t& c0, std::uint32_t& c1, std::uint32_t& c2,
                                        std::uint32_t& c3, philox_key key) {
  const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * c0;
  const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * c2;
  c0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ key.word[0];
  c1 = static_cast<std::uint32_t>(product1);
  c2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ key.word[1];
  c3 = static_cast<std::uint32_t>(product0);
}
TEMPFLOW_HD constexpr philox_key next_round(philox_key key) {
  return {{key.word[0] + 0x9E3779B9u, key.word[1] + 0xBB67AE85u}};
}

}  // namespace detail

/// Philox4x32-10: four uniform 32-bit words for a counter under a key. Matches Random123's known answers.
TEMPFLOW_HD constexpr philox_words philox4x32(philox_words counter, philox_key key) {
  for (int round = 0; round < 10; ++round) {
    detail::philox_round(counter.word[0], counter.word[1], counter.word[2], counter.word[3], key);
    key = detail::next_round(key);
  }
  return counter;
}

}  // namespace tempflow
