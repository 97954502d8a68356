// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Which kernels are measured at which sizes, and how. Names are kernel/implementation/storage/BxD/threads[/cold].

#include <benchmark/benchmark.h>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "problem.hpp"

namespace {

using namespace bench;

struct size {
  index rows, columns;
};

constexpr size usual[] = {{24, 65536}, {6, 262144}};                // SD3.5-M at 512 px; FLUX.1 at 1024 px
constexpr size unusual[] = {{1, 65536}, {4096, 1024}, {7, 65537}};  // one row, short rows, nothing aligned
constexpr size tiny = {3, 4099};                                    // everything at once, for tests

bool failed = false;

/// The problem that was last asked for, with the operations that were made for it. Only one is kept: a group of
/// implementations runs together.
struct bench_state {
  explicit bench_state(const group& g) : of(g), data(g) {}

  group of;
  problem data;
  std::map<std::string, operation> operations;
};

bench_state& state_for(const group& g) {
  static std::unique_ptr<bench_state> kept;
  if (!kept || !(kept->of == g)) {
    kept.reset();  // before the next takes memory
    kept = std::make_unique<bench_state>(g);
  }
  return *kept;
}

/// Calls that are not timed, at the start of each repetition: what ran before may have left threads that spin, cold
/// caches and a slow clock.
void warm_up(problem& data, const operation& run, results& r) {
  using clock = std::chrono::steady_clock;
  const auto start = clock::now();
  for (int i = 0; i < 2 || clock::now() - start < std::chrono::milliseconds(10); ++i) run(data.next(), r);
}

void measure(benchmark::State& timer, const group& g, const peer& p) {
  bench_state& state = state_for(g);
  auto& run = state.operations[p.name];
  results r = state.data.empty_results();
  if (!run) {
    run = p.find(g.what, g.type)->make(state.data.arguments());
    if (const std::string wrong = p.computes ? state.data.check(run) : ""; !wrong.empty()) {
      failed = true;
      run = nullptr;
      timer.SkipWithError(wrong.c_str());
      return;
    }
    for (int i = 0; i < p.tuning_calls; ++i) run(state.data.next(), r);
  }
  warm_up(state.data, run, r);
  for (auto _ : timer) {
    run(state.data.next(), r);
    benchmark::ClobberMemory();
  }
}

void add(const group& g, const peer& p) {
  if (p.find(g.what, g.type) == nullptr) return;
  benchmark::RegisterBenchmark(name_of(g, p).c_str(), measure, g, p)->Unit(benchmark::kMicrosecond);
}

/// All that is measured of one implementation.
void add_all(const peer& p) {
  const int most = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const std::set<int> threads{1, most};
  const bool serial = p.name == "reference", ours = p.name == "tempflow" || p.name == "roof";
  const auto each = [&](kernel what, storage type, const size& s, bool cold, bool one_thread = false) {
    for (const int count : threads) {
      if (count == 1 || !(serial || one_thread)) add({what, type, s.rows, s.columns, count, cold}, p);
    }
  };
  for (const kernel what : {kernel::step, kernel::log_prob, kernel::policy_loss}) {
    for (const storage type : {storage::f32, storage::bf16}) {
      each(what, type, tiny, false);
      each(what, type, usual[0], false);
      if (serial) continue;
      each(what, type, usual[0], true);
      for (const bool cold : {false, true}) each(what, type, usual[1], cold);
      for (const size& s : unusual) {
        if (ours) each(what, type, s, false);
      }
    }
    for (const storage type : {storage::f16, storage::f64}) {
      each(what, type, tiny, false);
      if (p.name != "roof" && !serial) each(what, type, usual[0], false, true);
    }
  }
  for (const storage type : {storage::f32, storage::bf16}) {
    for (const size& s : {tiny, usual[0], usual[1]}) each(kernel::branch_step, type, s, false);
    for (const size& s : {tiny, usual[0], usual[1]}) {
      if (!serial) each(kernel::policy_loss_on_policy, type, s, false);
    }
  }
  for (const storage type : {storage::f32, storage::bf16}) {
    for (const size& s : {tiny, size{4, 65536}, size{4, 262144}}) each(kernel::siblings, type, s, false);
  }
  for (const kernel what : {kernel::guidance, kernel::guidance_with_norms}) {
    for (const storage type : {storage::f32, storage::bf16}) {
      each(what, type, tiny, false);
      each(what, type, usual[0], false);
      if (!serial) each(what, type, usual[0], true);
    }
  }
  each(kernel::normals, storage::f32, tiny, false, true);
  each(kernel::normals, storage::f32, {1, 1 << 20}, false, true);
  each(kernel::group_advantages, storage::f64, {1, 1152}, false, true);
  each(kernel::group_advantages, storage::f64, {1, 1000000}, false, true);
}

std::string instruction_set() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
  return "x86-64";
#else
  return "not x86-64";
#endif
}

}  // namespace

int main(int count, char** arguments) {
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
  for (const peer& p : peers()) {
    benchmark::AddCustomContext("peer " + p.name, p.about);
    add_all(p);
  }
#if defined(__clang__)
  benchmark::AddCustomContext("compiler", "clang " __clang_version__);
#elif defined(__GNUC__)
  benchmark::AddCustomContext("compiler", "g++ " __VERSION__);
#endif
  benchmark::AddCustomContext("instruction set", instruction_set());
  benchmark::AddCustomContext("last-level cache", std::to_string(last_level_cache() >> 20) + " MiB");
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return failed ? 1 : 0;
}
