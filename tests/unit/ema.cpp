// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The moving average of weights: when it moves, how far, and in which arithmetic.

#include "tempflow/training/ema.hpp"
#include "tempflow/ops/ema_update.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <type_traits>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::ema_schedule;
using tempflow::index_t;
using tempflow::shape_error;
using tempflow::value_error;

TEST_CASE("the decay warms up as min((1 + n) / (10 + n), decay)", "[ema]") {
  const ema_schedule every{.decay = 0.9, .interval = 1};
  CHECK(every.at(0).value() == 1.0 / 10);
  CHECK(every.at(1).value() == 2.0 / 11);
  CHECK(every.at(70).value() == 71.0 / 80);
  CHECK(every.at(79).value() == 80.0 / 89);
  CHECK(every.at(80).value() == 0.9);  // 81 / 90
  CHECK(every.at(81).value() == 0.9);
  CHECK(every.at(1000000).value() == 0.9);
}

TEST_CASE("the average moves at every interval-th optimiser step", "[ema]") {
  const ema_schedule schedule;  // decay 0.9, interval 8
  std::vector<index_t> moved;
  for (index_t n = 0; n < 40; ++n) {
    if (schedule.at(n)) moved.push_back(n);
  }
  CHECK(moved == std::vector<index_t>{7, 15, 23, 31, 39});
  CHECK(schedule.at(7).value() == 8.0 / 17);
}

TEST_CASE("schedules that make no sense are errors that name the numbers", "[ema]") {
  CHECK_THROWS_MATCHES((ema_schedule{.decay = 1.5}.at(0)), value_error,
                       MessageMatches(ContainsSubstring("decay = 1.5")));
  CHECK_THROWS_MATCHES((ema_schedule{.interval = 0}.at(0)), value_error,
                       MessageMatches(ContainsSubstring("interval = 0")));
  CHECK_THROWS_MATCHES(ema_schedule{}.at(-1), value_error, MessageMatches(ContainsSubstring("-1")));
}

TEMPLATE_TEST_CASE("an update moves the average by (1 - decay) of the way to the weights", "[ema]", float,
                   double) {
  const index_t size = 40001;  // more than two blocks
  const auto weights = support::random_batch<TestType>(1, size, 1);
  const auto before = support::random_batch<TestType>(1, size, 2);
  const double decay = 0.9, eps = std::is_same_v<TestType, float> ? 0x1p-24 : 0x1p-53;
  for (const index_t threads : {1, 2, 3}) {
    auto average = before;
    const tempflow::cpu_backend cpu(threads);
    tempflow::ema_update(cpu, std::span<TestType>(average.view().data(), static_cast<std::size_t>(size)),
                         std::span<const TestType>(weights.view().data(), static_cast<std::size_t>(size)),
                         decay);
    double worst = 0;
    for (index_t i = 0; i < size; ++i) {
      const double old = support::value_of(before.view().data()[i]),
                   now = support::value_of(weights.view().data()[i]);
      worst = std::max(
          worst, std::abs(support::value_of(average.view().data()[i]) - (decay * old + (1 - decay) * now)));
    }
    // Numbers up to 2: roundings of both factors, of one product and of the result.
    CHECK(worst < 4 * eps);
  }
}

TEST_CASE("a decay of 1 keeps the average, a decay of 0 copies the weights", "[ema]") {
  const std::vector<float> weights{1, -2, 3};
  std::vector<float> average{5, 6, 7};
  tempflow::ema_update(tempflow::reference_backend{}, std::span<float>(average), weights, 1);
  CHECK(average == std::vector<float>{5, 6, 7});
  tempflow::ema_update(tempflow::reference_backend{}, std::span<float>(average), weights, 0);
  CHECK(average == weights);
}

TEST_CASE("weights that are a batch are averaged row by row", "[ema]") {
  tempflow::batch_buffer<float> average(2, 3), weights(2, 3);
  for (int e = 0; e < 6; ++e) weights.view().data()[e] = static_cast<float>(e);
  tempflow::ema_update(tempflow::reference_backend{}, average, weights, 0.5);
  for (int e = 0; e < 6; ++e) CHECK(average.view().data()[e] == 0.5f * static_cast<float>(e));
  tempflow::batch_buffer<float> narrow(2, 2);
  CHECK_THROWS_AS(tempflow::ema_update(tempflow::reference_backend{}, average, narrow, 0.5), shape_error);
}

TEST_CASE("updates that make no sense are errors and leave the average alone", "[ema]") {
  const std::vector<float> weights{1, -2, 3}, fewer{1, 2};
  std::vector<float> average{5, 6, 7};
  const tempflow::reference_backend backend;
  CHECK_THROWS_MATCHES(
      tempflow::ema_update(backend, std::span<float>(average), fewer, 0.9), shape_error,
      MessageMatches(ContainsSubstring("average has 3") && ContainsSubstring("weights has 2")));
  CHECK_THROWS_MATCHES(tempflow::ema_update(backend, std::span<float>(average), weights, -0.5), value_error,
                       MessageMatches(ContainsSubstring("decay = -0.5")));
  CHECK_THROWS_AS(tempflow::ema_update(backend, std::span<float>(average), weights, std::nan("")),
                  value_error);
  CHECK(average == std::vector<float>{5, 6, 7});
}
