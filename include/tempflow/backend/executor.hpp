// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A CPU backend on threads of the host's: whatever spreads a loop over threads makes one.
//
//   struct my_pool {                                      // a trainer's own, or a line around TBB or OpenMP
//     index_t threads() const;
//     void parallel_for(index_t count, const auto& body);   // body(i) for each i in [0, count)
//   };
//   const executor_backend backend(pool);

#include <algorithm>
#include <atomic>
#include <concepts>
#include <exception>

#include "tempflow/backend/dispatch.hpp"
#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/instruction_set.hpp"

namespace tempflow {

/// What an executor calls: body(i) on any thread. A small value that may be copied; it throws nothing. The
/// first exception of a body is kept for the thread that waits.
class executor_body {
 public:
  /// Where the first exception of a loop is kept.
  struct failure {
    std::atomic_flag taken;
    std::exception_ptr first;
  };

  executor_body(const dispatched_body& body, failure& first) : body_(body), failure_(&first) {}

  void operator()(index_t i) const noexcept {
    try {
      body_(i);
    } catch (...) {
      if (!failure_->taken.test_and_set()) failure_->first = std::current_exception();
    }
  }

 private:
  dispatched_body body_;
  failure* failure_;
};

/// Spreads a loop over threads.
///
/// `parallel_for(count, body)` calls body(i) once for each i in [0, count), in any order and on any threads, and
/// returns when all calls have ended; what they wrote is then visible to the caller. body: an executor_body, hence
/// also what a std::function<void(index_t)> holds. `threads()`: how many share a loop, the caller's included.
/// Whether loops may be nested or begun by several threads at once is the executor's to say.
template <class E>
concept executor = requires(E& runs, index_t count, const executor_body& body) {
  { runs.threads() } -> std::convertible_to<index_t>;
  runs.parallel_for(count, body);
};

namespace detail {

/// Calls body(i) for each i in [0, count) on an executor, or on this thread alone where there is nothing to share
/// or it is not worth waking threads for. Rethrows the first exception of a body, when all calls have ended.
template <executor E, class Body>
void run_on(E& threads, instruction_set instructions, index_t count, const Body& body) {
  constexpr double worth_sharing = 2e5;  // nanoseconds
  const dispatched_body call = dispatch(body, instructions);
  const double work = static_cast<double>(count) * estimated_nanoseconds(body, worth_sharing);
  if (count < 2 || work < worth_sharing || threads.threads() < 2) {
    for (index_t i = 0; i < count; ++i) call(i);
    return;
  }
  executor_body::failure failure;
  threads.parallel_for(count, executor_body(call, failure));
  if (failure.first) std::rethrow_exception(failure.first);
}

}  // namespace detail

/// Runs on an executor of the host's, to which it refers: the executor has to outlive it. A cheap value.
///
/// Results have the bits of cpu_backend, for any number of threads: each row is computed by one thread, in a fixed
/// order.
template <executor Executor>
class executor_backend {
 public:
  using arithmetic = tiled_arithmetic;

  /// `at_most` caps the instructions that kernels use, as cpu_backend's does.
  explicit executor_backend(Executor& runs, instruction_set at_most = instruction_set::avx512)
      : executor_(&runs), instructions_((std::min)(at_most, best_instruction_set())) {}

  /// Threads that share the work.
  index_t threads() const { return static_cast<index_t>(executor_->threads()); }

  /// Instructions that the library's kernels use.
  instruction_set instructions() const { return instructions_; }

  /// Calls body(i) for each i in [0, count), in no given order; returns when all are done. The first exception of a
  /// body is rethrown, exceptions of the executor pass through. The library's operations run serially where they
  /// take less than about 0.2 ms.
  template <class Body>
  void for_each_index(index_t count, const Body& body) const {
    detail::run_on(*executor_, instructions_, count, body);
  }

 private:
  Executor* executor_;
  instruction_set instructions_;
};

}  // namespace tempflow
