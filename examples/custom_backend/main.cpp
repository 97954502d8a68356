// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The library's operations on threads of yours. Here each loop starts its threads anew, where a trainer would hand it
// to the pool that it has anyway.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include <tempflow/tempflow.hpp>

namespace tf = tempflow;

struct my_threads {
  tf::index_t count;

  tf::index_t threads() const { return count; }

  // Calls body(i) for each i in [0, end), in any order, and returns when all calls have ended.
  template <class Body>
  void parallel_for(tf::index_t end, const Body& body) const {
    std::atomic<tf::index_t> next{0};
    const auto work = [&] {
      for (tf::index_t i; (i = next++) < end;) body(i);
    };
    std::vector<std::jthread> helpers;  // joined when it goes
    for (tf::index_t t = 1; t < std::min(count, end); ++t) helpers.emplace_back(work);
    work();
  }
};

int main() {
  constexpr tf::index_t rows = 6, columns = 100'000;
  const auto chain = tf::make_chain(tf::sd3_sigmas(10), tf::flow_sde{.noise_level = 0.7});
  std::vector<tf::noise_id> ids(rows);
  for (std::uint32_t i = 0; i < rows; ++i) ids[i].seed = i;
  const auto draw = [&](const auto& backend) {
    tf::batch_buffer<float> x(rows, columns), v(rows, columns), y(rows, columns);
    std::vector<double> log_probs(rows);
    tf::fill_noise(backend, {tf::noise_key{.seed = 1}, ids}, x);
    tf::fill_noise(backend, {tf::noise_key{.seed = 2}, ids}, v);
    tf::step(backend, x, v, chain[3], {tf::noise_key{.seed = 3}, ids}, y, log_probs);
    return y;
  };
  const my_threads threads{4};
  const auto backend = tf::executor_backend(threads);
  const auto mine = draw(backend), theirs = draw(tf::cpu_backend(1));
  const bool same =
      std::memcmp(mine.view().data(), theirs.view().data(), rows * columns * sizeof(float)) == 0;
  std::printf("%s\n", same ? "the same bits as cpu_backend" : "other bits than cpu_backend");
  return same ? 0 : 1;
}
