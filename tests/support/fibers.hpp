// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Fibers: threads that give way to each other only where they say so.
//
// The thread sanitizer takes each for a thread of its own, and orders them by release() and acquire() alone,
// never by the turns that they take. So it finds two threads of a kernel that touch one word of memory without a
// barrier between them, in whatever order they ran.

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#if defined(__SANITIZE_THREAD__)  // GCC
#define TEMPFLOW_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)  // Clang
#define TEMPFLOW_TEST_SANITIZED 1
#endif
#endif
#if defined(TEMPFLOW_TEST_SANITIZED)
#include <sanitizer/tsan_interface.h>
#endif

// For functions that switch fibers, and for what the emulation itself shares between them.
#if defined(__GNUC__)
#define TEMPFLOW_TEST_UNSEEN __attribute__((no_sanitize("thread"), noinline))
#else
#define TEMPFLOW_TEST_UNSEEN
#endif

namespace support {

#if defined(TEMPFLOW_TEST_SANITIZED)
inline void* current_identity() { return __tsan_get_current_fiber(); }
inline void* new_identity() { return __tsan_create_fiber(0); }
inline void forget_identity(void* identity) { __tsan_destroy_fiber(identity); }
TEMPFLOW_TEST_UNSEEN inline void become(void* identity, bool ordered) {
  __tsan_switch_to_fiber(identity, ordered ? 0 : __tsan_switch_to_fiber_no_sync);
}
inline void release(void* at) { __tsan_release(at); }
inline void acquire(void* at) { __tsan_acquire(at); }
inline constexpr bool finds_races = true;
#else
inline void* current_identity() { return nullptr; }
inline void* new_identity() { return nullptr; }
inline void forget_identity(void*) {}
inline void become(void*, bool) {}
inline void release(void*) {}
inline void acquire(void*) {}
inline constexpr bool finds_races = false;
#endif

/// A fiber that runs one function after another.
class fiber {
 public:
  fiber() : stack_(new char[stack_bytes]), identity_(new_identity()) {}
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;
  ~fiber() { forget_identity(identity_); }

  /// Makes ready to run start(of, index) from its beginning.
  void prepare(void (*start)(void* of, int index), void* of, int index) {
    start_ = start, of_ = of, index_ = index;
    begun_ = false;
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = stack_bytes;
    context_.uc_link = &back_;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&context_, reinterpret_cast<void (*)()>(&run), 2, static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(self));
  }

  /// Runs it until it gives way or ends; what it did by then is done for the caller only if it ended.
  TEMPFLOW_TEST_UNSEEN void resume() {
    caller_ = current_identity();
    const bool first = !begun_;
    begun_ = true;
    become(identity_, first);
    swapcontext(&back_, &context_);
  }

  /// From inside: back to whoever resumed it.
  TEMPFLOW_TEST_UNSEEN void give_way() {
    release(this);
    become(caller_, false);
    swapcontext(&context_, &back_);
  }

  /// What it did is done for the caller, though it will not go on.
  void abandon() { acquire(this); }

 private:
  static constexpr std::size_t stack_bytes = 64 * 1024;

  TEMPFLOW_TEST_UNSEEN static void run(unsigned high, unsigned low) {
    auto* const self = reinterpret_cast<fiber*>((std::uintptr_t{high} << 32) | low);
    self->start_(self->of_, self->index_);
    become(self->caller_, true);
  }

  std::unique_ptr<char[]> stack_;
  void* identity_;
  void* caller_ = nullptr;
  bool begun_ = false;
  void (*start_)(void*, int) = nullptr;
  void* of_ = nullptr;
  int index_ = 0;
  ucontext_t context_{}, back_{};
};

/// A fiber for each index; those of one emulated cluster after another.
inline fiber& fiber_of(std::size_t index) {
  static std::vector<std::unique_ptr<fiber>> all;
  while (all.size() <= index) all.push_back(std::make_unique<fiber>());
  return *all[index];
}

}  // namespace support
