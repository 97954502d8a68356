// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The roof: a loop that moves the bytes of a kernel once and computes nothing. Which loop is fastest depends on the
// machine and on where the data lie, so a few are tried and the fastest is measured.

#include <array>
#include <chrono>
#include <cstring>
#include <memory>

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

// Vectors of a cache line: compilers split them into the registers that a target has.
using line [[gnu::vector_size(64), gnu::aligned(1), gnu::may_alias]] = std::uint64_t;

struct options {
  bool stream;   ///< stores that go past the caches
  int prefetch;  ///< bytes ahead of the loads; 0: leave it to the processor
};

template <int Reads, bool Writes, options Options>
[[gnu::always_inline]] inline void move(const spans& s) {
  line sum = {};
  const auto move_byte = [&](index at) __attribute__((always_inline)) {
    std::byte value = s.from[0][at];
    for (std::size_t k = 1; k < Reads; ++k) value |= s.from[k][at];
    if constexpr (Writes) {
      s.to[at] = value;
    } else {
      sum[0] |= static_cast<std::uint64_t>(value);
    }
  };
  index at = 0;
  if constexpr (Options.stream) {  // needs alignment
    for (; at < s.bytes && reinterpret_cast<std::uintptr_t>(s.to + at) % 64 != 0; ++at) move_byte(at);
  }
  for (; at + 64 <= s.bytes; at += 64) {
    line value = *reinterpret_cast<const line*>(s.from[0] + at);
    for (std::size_t k = 1; k < Reads; ++k) value |= *reinterpret_cast<const line*>(s.from[k] + at);
    if constexpr (Options.prefetch > 0) {
      for (std::size_t k = 0; k < Reads; ++k) __builtin_prefetch(s.from[k] + at + Options.prefetch, 0, 2);
    }
    if constexpr (!Writes) {
      sum |= value;
    } else if constexpr (Options.stream) {
#if defined(__x86_64__)
      __m128i quarters[4];
      std::memcpy(quarters, &value, sizeof(value));
      for (int q = 0; q < 4; ++q) _mm_stream_si128(reinterpret_cast<__m128i*>(s.to + at) + q, quarters[q]);
#endif
    } else {
      *reinterpret_cast<line*>(s.to + at) = value;
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
  move<Reads, Writes, Options>(s);
}
#if defined(__x86_64__)
template <int Reads, bool Writes, options Options>
[[gnu::target("avx2")]] void avx2(const spans& s) {
  move<Reads, Writes, Options>(s);
}
template <int Reads, bool Writes, options Options>
[[gnu::target("avx512f")]] void avx512(const spans& s) {
  move<Reads, Writes, Options>(s);
}
#endif

template <int Reads, bool Writes, options Options>
void add_loops(std::vector<loop>& loops) {
  loops.push_back(portable<Reads, Writes, Options>);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) loops.push_back(avx2<Reads, Writes, Options>);
  if (__builtin_cpu_supports("avx512f")) loops.push_back(avx512<Reads, Writes, Options>);
#endif
}

template <int Reads, bool Writes>
std::vector<loop> loops() {
  std::vector<loop> all;
  add_loops<Reads, Writes, options{false, 0}>(all);
  add_loops<Reads, Writes, options{false, 2048}>(all);
#if defined(__x86_64__)
  if constexpr (Writes) {
    add_loops<Reads, Writes, options{true, 0}>(all);
    add_loops<Reads, Writes, options{true, 2048}>(all);
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

/// The loop with the best time of several rounds, each of which runs all of them.
loop fastest(const task& t, const buffers& b, const std::vector<loop>& loops) {
  using clock = std::chrono::steady_clock;
  std::pair<clock::duration, loop> best{clock::duration::max(), loops.front()};
  for (int round = 0; round < 8; ++round) {
    for (const loop candidate : loops) {
      const auto start = clock::now();
      run(t, b, candidate);
      best = std::min(best, std::pair(clock::now() - start, candidate));
    }
  }
  return best.second;
}

template <int Reads, bool Writes>
operation roof(const task& t) {
  return [&t, body = loop{}](const buffers& b, results&) mutable {
    if (body == nullptr) body = fastest(t, b, loops<Reads, Writes>());
    run(t, b, body);
  };
}

peer self() {
  peer p{"roof", "moves the same bytes once and computes nothing", {}, false};
  for (const storage type : {storage::f32, storage::bf16, storage::f16, storage::f64}) {
    p.offers.push_back({kernel::step, type, roof<2, true>});
    p.offers.push_back({kernel::log_prob, type, roof<3, false>});
    p.offers.push_back({kernel::policy_loss, type, roof<4, true>});
  }
  return p;
}

const registration added(self());

}  // namespace
}  // namespace bench
