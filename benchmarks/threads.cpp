// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include "threads.hpp"

#include <map>

#if defined(__linux__)
#include <sched.h>
#endif

namespace bench {
namespace {

/// While it lives, the calling thread may run on every processor, and so may the threads that it starts.
///
/// An OpenMP run-time under OMP_PROC_BIND, which torch is fastest with, ties the main thread to one processor before
/// main() begins. All threads started from it would share that one.
class unbound {
 public:
#if defined(__linux__)
  unbound() {
    sched_getaffinity(0, sizeof(before_), &before_);
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int i = 0; i < CPU_SETSIZE; ++i) CPU_SET(i, &all);
    sched_setaffinity(0, sizeof(all), &all);
  }
  ~unbound() { sched_setaffinity(0, sizeof(before_), &before_); }

 private:
  cpu_set_t before_;
#else
  unbound() {}
  ~unbound() {}
#endif
 public:
  unbound(const unbound&) = delete;
  unbound& operator=(const unbound&) = delete;
};

}  // namespace

tempflow::cpu_backend threads(int count) {
  static std::map<int, tempflow::cpu_backend> backends;
  const unbound guard;
  return backends.try_emplace(count, count).first->second;
}

}  // namespace bench
