// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A million normals as a sample: moments, the whole distribution, and independence from one another.

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/statistics.hpp"
#include "tempflow/core/noise.hpp"

namespace {

// Elements 0 to 2^20 - 1 of one row.
const std::vector<float>& sample() {
  static const std::vector<float> drawn = [] {
    std::vector<float> values;
    for (tempflow::index_t block = 0; block < (1 << 18); ++block) {
      const auto four =
          tempflow::noise_block({.seed = 42, .update = 7}, {.prompt = 3, .seed = 1, .step = 2}, block);
      values.insert(values.end(), std::begin(four.value), std::end(four.value));
    }
    return values;
  }();
  return drawn;
}

double moment(int power) {
  double sum = 0;
  for (const float z : sample()) sum += std::pow(static_cast<double>(z), power);
  return sum / static_cast<double>(sample().size());
}

}  // namespace

TEST_CASE("a million normals have the moments of the normal distribution", "[normal]") {
  // The k-th sample moment of n normals deviates by sqrt((E z^2k - (E z^k)^2) / n): E z^2 to E z^12 are
  // 1, 3, 15, 105, 945, 10395.
  const auto n = static_cast<double>(sample().size());
  CHECK(std::abs(moment(1) - 0) < 4 * std::sqrt(1 / n));
  CHECK(std::abs(moment(2) - 1) < 4 * std::sqrt((3.0 - 1) / n));
  CHECK(std::abs(moment(3) - 0) < 4 * std::sqrt(15 / n));
  CHECK(std::abs(moment(4) - 3) < 4 * std::sqrt((105.0 - 9) / n));
  CHECK(std::abs(moment(5) - 0) < 4 * std::sqrt(945 / n));
  CHECK(std::abs(moment(6) - 15) < 4 * std::sqrt((10395.0 - 225) / n));
}

TEST_CASE("skewness and excess kurtosis of a million normals are those of the normal distribution",
          "[normal]") {
  const auto n = static_cast<double>(sample().size());
  const double mean = moment(1);
  double second = 0, third = 0, fourth = 0;
  for (const float z : sample()) {
    const double d = static_cast<double>(z) - mean, square = d * d;
    second += square / n;
    third += square * d / n;
    fourth += square * square / n;
  }
  CHECK(std::abs(third / std::pow(second, 1.5)) < 4 * std::sqrt(6 / n));
  CHECK(std::abs(fourth / (second * second) - 3) < 4 * std::sqrt(24 / n));
}

TEST_CASE("a million normals pass a Kolmogorov-Smirnov test", "[normal]") {
  auto sorted = sample();
  std::ranges::sort(sorted);
  const auto n = static_cast<double>(sorted.size());
  double distance = 0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const double cdf = support::normal_cdf(static_cast<double>(sorted[i]));
    distance = std::max({distance, cdf - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - cdf});
  }
  CHECK(distance * std::sqrt(n) < 1.95);  // exceeded once in a thousand samples
}

TEST_CASE("the tails of a million normals are as heavy as they should be", "[normal]") {
  const auto n = static_cast<double>(sample().size());
  for (const double bound : {2.0, 3.0, 4.0}) {
    const double expected = 2 * support::normal_cdf(-bound) * n;
    const auto beyond = static_cast<double>(std::ranges::count_if(
        sample(), [bound](float z) { return std::abs(static_cast<double>(z)) > bound; }));
    INFO("beyond " << bound << ": " << beyond << ", expected " << expected);
    CHECK(std::abs(beyond - expected) < 4 * std::sqrt(expected));
  }
}

TEST_CASE("normals of one row are uncorrelated at every small lag", "[normal]") {
  const std::span<const float> all = sample();
  for (const std::size_t lag : {1u, 2u, 3u, 4u, 5u, 8u, 16u, 32u, 1024u}) {
    INFO("lag " << lag);
    CHECK(std::abs(support::correlation_z(all.subspan(lag), all.first(all.size() - lag))) < 4);
  }
}

TEST_CASE("squares of neighbouring normals are uncorrelated", "[normal]") {
  // Both halves of a Box-Muller pair share their radius: their squares would be correlated if it went wrong.
  std::vector<double> squares;
  for (const float z : sample())
    squares.push_back((static_cast<double>(z) * static_cast<double>(z) - 1) / std::sqrt(2.0));
  const std::span<const double> all = squares;
  for (const std::size_t lag : {1u, 2u, 3u, 4u}) {
    INFO("lag " << lag);
    CHECK(std::abs(support::correlation_z(all.subspan(lag), all.first(all.size() - lag))) < 4);
  }
}
