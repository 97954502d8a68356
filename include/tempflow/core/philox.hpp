// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Philox4x32-10: a counter-based generator. Its output is a function of (counter, key) alone, so any element
// of any noise can be drawn anywhere, in any order, and drawn again instead of stored.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

#include <cstdint>

#include "tempflow/config.hpp"
#include "tempflow/core/lanes.hpp"

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

/// Counters side by side. Lane: lanes of std::uint64_t, of which the low halves are the words and the high
/// ones are ignored: that is how vector processors multiply 32 bits by 32.
template <class Lane>
struct philox_lanes {
  Lane word[4];
};

/// One round of Philox4x32. Counter: philox_words, or philox_lanes.
TEMPFLOW_HD_TEMPLATE
template <class Counter>
TEMPFLOW_INLINE constexpr void philox_round(Counter& c, philox_key key) {
  const auto product0 = multiply_words(c.word[0], 0xD2511F53u);
  const auto product1 = multiply_words(c.word[2], 0xCD9E8D57u);
  c.word[0] = product1.high ^ c.word[1] ^ key.word[0];
  c.word[1] = product1.low;
  c.word[2] = product0.high ^ c.word[3] ^ key.word[1];
  c.word[3] = product0.low;
}
TEMPFLOW_INLINE constexpr philox_key next_round(philox_key key) {
  return {{key.word[0] + 0x9E3779B9u, key.word[1] + 0xBB67AE85u}};
}

/// The ten rounds, for any number of counters at once.
TEMPFLOW_HD_TEMPLATE
template <int Rounds = 10, class... Counters>
TEMPFLOW_INLINE constexpr void philox_rounds(philox_key key, Counters&... counters) {
  (philox_round(counters, key), ...);
  if constexpr (Rounds > 1) philox_rounds<Rounds - 1>(next_round(key), counters...);
}

}  // namespace detail

/// Philox4x32-10: four uniform 32-bit words for a counter under a key. Matches Random123's known answers.
TEMPFLOW_HD constexpr philox_words philox4x32(philox_words counter, philox_key key) {
  detail::philox_rounds(key, counter);
  return counter;
}

}  // namespace tempflow
