// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The CPU backend: rows spread over a persistent pool of threads of its own. On threads of yours: executor.hpp.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tempflow/backend/executor.hpp"
#include "tempflow/core/arithmetic.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/instruction_set.hpp"

namespace tempflow {
namespace detail {

/// An executor: threads that sleep until there is work. One job at a time; a job called from inside a job runs serially.
///
/// A job ends when its indices are done: a thread that has not woken by then is not waited for. After a job
/// threads stay awake for some tens of microseconds, since operations tend to follow each other.
class thread_pool {
 public:
  explicit thread_pool(index_t threads) {
    workers_.reserve(static_cast<std::size_t>(threads - 1));
    try {
      for (index_t i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {  // the system refused a thread: those that run must end before their members do
      stop();
      throw;
    }
  }

  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;

  ~thread_pool() { stop(); }

  index_t threads() const { return static_cast<index_t>(workers_.size()) + 1; }

  /// Calls body(i) for each i in [0, count), on all threads.
  void parallel_for(index_t count, const executor_body& body) {
    if (busy_.test_and_set(std::memory_order_acquire)) {  // nested or concurrent use: this thread alone
      for (index_t i = 0; i < count; ++i) body(i);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      body_ = &body, count_ = count;
      next_.store(0, std::memory_order_relaxed);
      open_ = true;
      generation_.fetch_add(1, std::memory_order_relaxed);
    }
    wake_.notify_all();
    drain();
    {
      const std::lock_guard lock(mutex_);
      open_ = false;
    }
    stay_awake_until([this] { return running_.load(std::memory_order_relaxed) == 0; });
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return running_.load(std::memory_order_relaxed) == 0; });
    lock.unlock();
    busy_.clear(std::memory_order_release);
  }

 private:
  /// Polls, while letting other threads run; a thread that sleeps takes as long to wake as a small job takes.
  template <class Condition>
  static void stay_awake_until(const Condition& condition) {
    constexpr int polls = 100;
    for (int i = 0; i < polls && !condition(); ++i) std::this_thread::yield();
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void work() {
    std::uint64_t seen = 0;
    while (true) {
      stay_awake_until([&] { return generation_.load(std::memory_order_relaxed) != seen; });
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] {
          return stopping_ || (open_ && generation_.load(std::memory_order_relaxed) != seen);
        });
        if (stopping_) return;
        seen = generation_.load(std::memory_order_relaxed);
        running_.fetch_add(1, std::memory_order_relaxed);
      }
      drain();
      const std::lock_guard lock(mutex_);
      if (running_.fetch_sub(1, std::memory_order_relaxed) == 1) done_.notify_one();
    }
  }

  void drain() {
    for (index_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) (*body_)(i);
  }

  std::vector<std::thread> workers_;
  std::atomic_flag busy_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<index_t> next_{0};
  const executor_body* body_ = nullptr;
  index_t count_ = 0;
  std::atomic<index_t> running_{0};  ///< workers inside the job
  bool open_ = false;                ///< workers may join the job
  std::atomic<std::uint64_t> generation_{0};
  bool stopping_ = false;
};

}  // namespace detail

/// Runs on the host's threads. A cheap value: copies share one pool.
///
/// Results do not depend on the number of threads: each row is computed by one thread, in a fixed order.
class cpu_backend {
 public:
  using arithmetic = tiled_arithmetic;

  /// Uses `threads` threads, the caller's included; 0 takes one per hardware thread. `at_most` caps what
  /// kernels use: to compare instruction sets, whose results have the same bits.
  /// Throws value_error for a count that is negative or above 4,096.
  explicit cpu_backend(index_t threads = 0, instruction_set at_most = instruction_set::avx512)
      : instructions_((std::min)(at_most, best_instruction_set())) {
    if (threads < 0 || threads > 4096)
      throw value_error(detail::message("cpu_backend: threads = ", threads, ", must lie in [0, 4096]"));
    if (threads == 0)
      threads = std::max<index_t>(1, static_cast<index_t>(std::thread::hardware_concurrency()));
    pool_ = std::make_shared<detail::thread_pool>(threads);
  }

  /// Threads that share the work.
  index_t threads() const { return pool_->threads(); }

  /// Instructions that the library's kernels use.
  instruction_set instructions() const { return instructions_; }

  /// Calls body(i) for each i in [0, count), in parallel and in no given order; returns when all are done.
  /// The first exception of a body is rethrown. Called from inside a body, or from two threads at once, it
  /// runs serially, and so do the library's operations where they take less than about 0.2 ms.
  template <class Body>
  void for_each_index(index_t count, const Body& body) const {
    detail::run_on(*pool_, instructions_, count, body);
  }

 private:
  instruction_set instructions_;
  std::shared_ptr<detail::thread_pool> pool_;
};

}  // namespace tempflow
