// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The cpu backend itself: every index once, exceptions of bodies, and use from inside and from several
// threads.

#include "tempflow/backend/cpu.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/backend/backend.hpp"
#include "tempflow/backend/reference.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::cpu_backend;
using tempflow::index_t;

TEST_CASE("both backends are backends", "[backend]") {
  STATIC_REQUIRE(tempflow::backend<cpu_backend>);
  STATIC_REQUIRE(tempflow::backend<tempflow::reference_backend>);
  STATIC_REQUIRE_FALSE(tempflow::backend<int>);
}

TEST_CASE("each index is visited once, whatever the threads and the count", "[backend]") {
  for (const index_t threads : {1, 2, 3, 8}) {
    const cpu_backend cpu(threads);
    CHECK(cpu.threads() == threads);
    for (const index_t count : {0, 1, 2, 3, 100, 10000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      cpu.for_each_index(count, [&](index_t i) { ++visits[static_cast<std::size_t>(i)]; });
      int wrong = 0;
      for (const auto& visit : visits) wrong += visit == 1 ? 0 : 1;
      INFO(threads << " threads, " << count << " indices");
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("zero threads take one for each of the machine's, a negative number is an error", "[backend]") {
  CHECK(cpu_backend().threads() >= 1);
  CHECK_THROWS_MATCHES(cpu_backend(-2), tempflow::value_error,
                       MessageMatches(ContainsSubstring("threads = -2")));
}

TEST_CASE("an exception of a body reaches the caller, and the backend works on", "[backend]") {
  for (const index_t threads : {1, 3}) {
    const cpu_backend cpu(threads);
    for (int round = 0; round < 20; ++round) {
      CHECK_THROWS_MATCHES(cpu.for_each_index(50,
                                              [](index_t i) {
                                                if (i == 33) throw std::runtime_error("index 33");
                                              }),
                           std::runtime_error, MessageMatches(ContainsSubstring("index 33")));
      std::atomic<int> visits = 0;
      cpu.for_each_index(50, [&](index_t) { ++visits; });
      CHECK(visits == 50);
    }
  }
}

TEST_CASE("a call from inside a body runs there and then", "[backend]") {
  const cpu_backend cpu(3);
  std::atomic<int> visits = 0;
  cpu.for_each_index(10, [&](index_t) { cpu.for_each_index(10, [&](index_t) { ++visits; }); });
  CHECK(visits == 100);
}

TEST_CASE("copies of a backend may be used from several threads at once", "[backend]") {
  const cpu_backend cpu(2);
  std::atomic<int> visits = 0;
  std::vector<std::thread> users;
  for (int user = 0; user < 4; ++user) {
    users.emplace_back([&, mine = cpu] {
      for (int round = 0; round < 50; ++round) mine.for_each_index(20, [&](index_t) { ++visits; });
    });
  }
  for (auto& user : users) user.join();
  CHECK(visits == 4 * 50 * 20);
}
