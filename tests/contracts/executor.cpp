// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A backend on an executor of the host's: every index once, the bits of cpu_backend, exceptions, and when the
// executor is asked at all.

#include "tempflow/backend/executor.hpp"

#include <atomic>
#include <functional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/all_operations.hpp"
#include "support/outputs.hpp"
#include "tempflow/backend/backend.hpp"
#include "tempflow/backend/cpu.hpp"

using support::check_throws;
using tempflow::executor_backend;
using tempflow::index_t;

namespace {

// Threads of its own for each loop, from the last index to the first; takes what a std::function takes.
class host_threads {
 public:
  explicit host_threads(index_t count) : count_(count) {}

  int threads() const { return static_cast<int>(count_); }

  void parallel_for(index_t end, const std::function<void(index_t)>& body) {
    ++loops;
    std::atomic<index_t> left{end};
    const auto work = [&] {
      for (index_t i; (i = --left) >= 0;) body(i);
    };
    std::vector<std::thread> helpers;
    for (index_t t = 1; t < count_; ++t) helpers.emplace_back(work);
    work();
    for (auto& helper : helpers) helper.join();
  }

  int loops = 0;

 private:
  index_t count_;
};

// Refuses all work.
struct closed_threads {
  index_t threads() const { return 2; }
  void parallel_for(index_t, const auto&) const { throw std::runtime_error("the pool is closed"); }
};

// A body that takes as long as it says.
struct timed_body {
  using kernel_tag = tempflow::detail::kernel;
  double of_an_index;

  double nanoseconds() const { return of_an_index; }
  template <class Instructions>
  void operator()(index_t, Instructions) const {}
};

}  // namespace

TEST_CASE("what has threads and a parallel loop makes a backend", "[backend][executor]") {
  STATIC_REQUIRE(tempflow::executor<host_threads>);
  STATIC_REQUIRE(tempflow::executor<const closed_threads>);
  STATIC_REQUIRE_FALSE(tempflow::executor<const host_threads>);  // its loop is not const
  STATIC_REQUIRE_FALSE(tempflow::executor<std::vector<int>>);
  STATIC_REQUIRE(tempflow::host_backend<executor_backend<host_threads>>);
  STATIC_REQUIRE(tempflow::parallel_backend<executor_backend<host_threads>>);
  host_threads threads(3);
  const executor_backend backend(threads, tempflow::instruction_set::portable);
  CHECK(backend.threads() == 3);
  CHECK(backend.instructions() == tempflow::instruction_set::portable);
}

TEST_CASE("an executor visits each index once", "[backend][executor]") {
  for (const index_t count : {0, 1, 2, 100, 10000}) {
    host_threads threads(3);
    std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
    executor_backend(threads).for_each_index(count,
                                             [&](index_t i) { ++visits[static_cast<std::size_t>(i)]; });
    int wrong = 0;
    for (const auto& visit : visits) wrong += visit == 1 ? 0 : 1;
    INFO(count << " indices");
    CHECK(wrong == 0);
    CHECK(threads.loops == (count < 2 ? 0 : 1));
  }
}

TEST_CASE("operations on an executor have the bits of cpu_backend, for any number of threads",
          "[backend][executor]") {
  const support::operation_inputs<float> given;
  const auto expected = given.compute(tempflow::cpu_backend(1));
  for (const index_t count : {1, 2, 3}) {
    host_threads threads(count);
    const executor_backend backend(threads);
    INFO(count << " threads");
    CHECK(given.compute(backend).same_as(expected));
    CHECK(given.compute(backend, 1).same_as(expected));  // a row alone is cut in parts
    CHECK((threads.loops > 0) == (count > 1));
  }
}

TEST_CASE("only work of 0.2 ms and more is shared, on an executor as on the library's threads",
          "[backend][executor]") {
  host_threads two(2), one(1);
  executor_backend(two).for_each_index(10, timed_body{1e4});
  CHECK(two.loops == 0);
  executor_backend(two).for_each_index(10, timed_body{2e4});
  CHECK(two.loops == 1);
  executor_backend(two).for_each_index(1, timed_body{1e9});  // nothing to share
  CHECK(two.loops == 1);
  executor_backend(one).for_each_index(10, timed_body{1e9});  // nobody to share it with
  CHECK(one.loops == 0);
}

TEST_CASE("the first exception of a body is rethrown when all calls have ended, and no executor sees it",
          "[backend][executor]") {
  for (const index_t count : {1, 3}) {
    host_threads threads(count);  // an exception in one of its threads would end the program
    const executor_backend backend(threads);
    std::atomic<int> visits = 0;
    check_throws<std::runtime_error>(
        [&] {
          backend.for_each_index(50, [&](index_t i) {
            ++visits;
            if (i % 2 == 1) throw std::runtime_error("an odd index");
          });
        },
        {"an odd index"});
    if (count > 1) CHECK(visits == 50);
    visits = 0;
    backend.for_each_index(50, [&](index_t) { ++visits; });
    CHECK(visits == 50);
  }
}

TEST_CASE("an exception of an executor passes through", "[backend][executor]") {
  const closed_threads closed;
  check_throws<std::runtime_error>([&] { executor_backend(closed).for_each_index(5, [](index_t) {}); },
                                   {"the pool is closed"});
}
