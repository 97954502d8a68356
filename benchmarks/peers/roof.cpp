// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The roof: a loop that moves the bytes of a kernel once and computes nothing. Which loop is fastest depends on the
// machine and on where the data lie, so a few are tried and the fastest is measured.

#include <array>
#include <chrono>
#include <cstring>

#include "../peer.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bench {
namespace {

/// A span of bytes of each stream.
struct spans {
  std::array<const std::byte*, 4> from;
  std::byte* to;
  index bytes;
};

using loop = void (*)(const spans&);

// Vectors as wide as registers. They are copied from and to memory, where they need not be aligned.
using vector16 [[gnu::vector_size(16)]] = std::uint64_t;
using vector32 [[gnu::vector_size(32)]] = std::uint64_t;
using vector64 [[gnu::vector_size(64)]] = std::uint64_t;

struct options {
  bool stream;   ///< stores that go past the caches
  int prefetch;  ///< bytes ahead of the loads; 0: leave it to the processor
  int lines;     ///< cache lines of each stream in turn
};

constexpr index cache_line = 64;

/// Vector by reference: what passing one by value means depends on the target.
template <class Vector>
[[gnu::always_inline]] inline void stream([[maybe_unused]] std::byte* to,
                                          [[maybe_unused]] const Vector& value) {
#if defined(__x86_64__)
  constexpr int parts = sizeof(Vector) / sizeof(__m128i);
  __m128i part[parts];
  std::memcpy(part, &value, sizeof(value));
  for (int i = 0; i < parts; ++i) _mm_stream_si128(reinterpret_cast<__m128i*>(to) + i, part[i]);
#endif
}

template <class Vector, int Reads, bool Writes, options Options>
[[gnu::always_inline]] inline void move(const spans& s) {
  constexpr index block = cache_line * Options.lines, width = sizeof(Vector);
  constexpr int vectors = block / width;
  Vector sum[vectors] = {};
  const auto move_byte = [&](index at) __attribute__((always_inline)) {
    std::byte value = s.from[0][at];
    for (std::size_t k = 1; k < Reads; ++k) value |= s.from[k][at];
    if constexpr (Writes) {
      s.to[at] = value;
    } else {
      sum[0][0] |= static_cast<std::uint64_t>(value);
    }
  };
  index at = 0;
  if constexpr (Options.stream) {  // needs alignment
    for (; at < s.bytes && reinterpret_cast<std::uintptr_t>(s.to + at) % cache_line != 0; ++at) move_byte(at);
  }
  for (; at + block <= s.bytes; at += block) {
    if constexpr (Writes) {
      for (auto& value : sum) value = Vector{};
    }
    for (std::size_t k = 0; k < Reads; ++k) {
      const std::byte* const from = s.from[k] + at;
      if constexpr (Options.prefetch > 0) {
        for (index ahead = 0; ahead < block; ahead += cache_line)
          __builtin_prefetch(from + ahead + Options.prefetch, 0, 2);
      }
      for (int i = 0; i < vectors; ++i) {
        Vector value;
        std::memcpy(&value, from + i * width, sizeof(value));
        sum[i] |= value;
      }
    }
    for (int i = 0; Writes && i < vectors; ++i) {
      if constexpr (Options.stream) {
        stream(s.to + at + i * width, sum[i]);
      } else {
        std::memcpy(s.to + at + i * width, &sum[i], sizeof(Vector));
      }
    }
  }
  for (; at < s.bytes; ++at) move_byte(at);
  if constexpr (!Writes) asm volatile("" : : "m"(sum) : "memory");
#if defined(__x86_64__)
  if constexpr (Options.stream) _mm_sfence();
#endif
}

template <int Reads, bool Writes, options Options>
void portable(const spans& s) {
  move<vector16, Reads, Writes, Options>(s);
}
#if defined(__x86_64__)
template <int Reads, bool Writes, options Options>
[[gnu::target("avx2")]] void avx2(const spans& s) {
  move<vector32, Reads, Writes, Options>(s);
}
template <int Reads, bool Writes, options Options>
[[gnu::target("avx512f")]] void avx512(const spans& s) {
  move<vector64, Reads, Writes, Options>(s);
}
#endif

template <int Reads, bool Writes, options Options>
void add_loops(std::vector<loop>& loops) {
  const auto before = loops.size();
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) loops.push_back(avx2<Reads, Writes, Options>);
  if (__builtin_cpu_supports("avx512f")) loops.push_back(avx512<Reads, Writes, Options>);
#endif
  if (loops.size() == before) loops.push_back(portable<Reads, Writes, Options>);
}

template <int Reads, bool Writes>
std::vector<loop> loops() {
  std::vector<loop> all;
  add_loops<Reads, Writes, options{false, 0, 1}>(all);
  add_loops<Reads, Writes, options{false, 0, 4}>(all);
  add_loops<Reads, Writes, options{false, 2048, 1}>(all);
  add_loops<Reads, Writes, options{false, 2048, 4}>(all);
#if defined(__x86_64__)
  if constexpr (Writes) {
    add_loops<Reads, Writes, options{true, 0, 1}>(all);
    add_loops<Reads, Writes, options{true, 0, 4}>(all);
    add_loops<Reads, Writes, options{true, 2048, 1}>(all);
    add_loops<Reads, Writes, options{true, 2048, 4}>(all);
  }
#endif
  return all;
}

void run(const task& t, const buffers& b, loop body) {
  const index bytes = t.columns * static_cast<index>(size_of(t.type));
  t.for_each_row(t.rows, [&](index i) {
    const auto row_of = [&](const void* batch) { return static_cast<const std::byte*>(batch) + i * bytes; };
    body({{row_of(b.x), row_of(b.v), row_of(b.y), row_of(b.v_ref)},
          static_cast<std::byte*>(b.out) + i * bytes,
          bytes});
  });
}

constexpr int trials = 8;  // of each loop, in turn
constexpr int max_loops = 16;

/// The first calls try the loops, the others run the one with the best time.
template <int Reads, bool Writes>
class fastest_loop {
 public:
  explicit fastest_loop(const task& t) : task_(t), best_(loops_.size(), clock::duration::max()) {}

  void operator()(const buffers& b, results&) {
    if (call_ == trials * loops_.size()) return run(task_, b, chosen_);
    const std::size_t candidate = call_++ % loops_.size();
    const auto start = clock::now();
    run(task_, b, loops_[candidate]);
    best_[candidate] = std::min(best_[candidate], clock::now() - start);
    chosen_ = loops_[static_cast<std::size_t>(std::min_element(best_.begin(), best_.end()) - best_.begin())];
  }

 private:
  using clock = std::chrono::steady_clock;

  const task& task_;
  std::vector<loop> loops_ = loops<Reads, Writes>();
  std::vector<clock::duration> best_;
  std::size_t call_ = 0;
  loop chosen_ = nullptr;
};

template <int Reads, bool Writes>
operation roof(const task& t) {
  return fastest_loop<Reads, Writes>(t);
}

peer self() {
  peer p{"roof", "moves the same bytes once and computes nothing", {}, false, trials * max_loops};
  for (const storage type : {storage::f32, storage::bf16, storage::f16, storage::f64}) {
    p.offers.push_back({kernel::step, type, roof<2, true>});
    p.offers.push_back({kernel::log_prob, type, roof<3, false>});
    p.offers.push_back({kernel::policy_loss, type, roof<4, true>});
    p.offers.push_back({kernel::guidance, type, roof<2, true>});
    p.offers.push_back({kernel::guidance_with_norms, type, roof<2, true>});
  }
  return p;
}

const registration added(self());

}  // namespace
}  // namespace bench
