// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include <tempflow/core/normal.hpp>
#include <tempflow/core/philox.hpp>

namespace support {

/// What a stream of random numbers is for. Streams of different purposes are independent.
enum class purpose : std::uint32_t { weights, batches, noise, shuffle };

/// A stream of random numbers that is a function of (seed, purpose, a, b) alone, on every platform: any step
/// of a training can be drawn again after a restart without having stored a generator.
class random_stream {
 public:
  random_stream(std::uint64_t seed, purpose use, std::uint32_t a, std::uint32_t b = 0)
      : key_{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}},
        counter_{{0, static_cast<std::uint32_t>(use), a, b}} {}

  std::uint32_t bits() {
    if (used_ == 4) refill();
    return words_.word[used_++];
  }

  /// Uniform in [0, 1).
  float uniform() { return static_cast<float>(bits() >> 8) * 0x1p-24f; }

  /// Uniform in {0, ..., count - 1}.
  int below(int count) {
    return static_cast<int>((std::uint64_t{bits()} * static_cast<std::uint64_t>(count)) >> 32);
  }

  void fill_normal(std::span<float> out) {
    for (std::size_t i = 0; i < out.size();) {
      refill();
      const auto four = tempflow::box_muller(words_);
      for (std::size_t k = 0; k < 4 && i < out.size(); ++k) out[i++] = four.value[k];
    }
    used_ = 4;
  }

 private:
  void refill() {
    words_ = tempflow::philox4x32(counter_, key_);
    ++counter_.word[0];
    used_ = 0;
  }

  tempflow::philox_key key_;
  tempflow::philox_words counter_;
  tempflow::philox_words words_{};
  int used_ = 4;
};

/// A random order of 0, ..., count - 1 (Fisher-Yates; std::shuffle differs between standard libraries).
inline std::vector<int> shuffled(int count, random_stream random) {
  std::vector<int> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  for (int i = count - 1; i > 0; --i)
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(random.below(i + 1))]);
  return order;
}

}  // namespace support
