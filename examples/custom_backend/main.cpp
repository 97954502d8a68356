// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A backend of your own: the library's operations on threads of yours. Here each call starts its threads anew, where a
// trainer would hand the range to the pool that it has anyway.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include <tempflow/tempflow.hpp>

namespace tf = tempflow;

class my_backend {
 public:
  using arithmetic = tf::tiled_arithmetic;  // with cpu_backend's arithmetic come its bits

  explicit my_backend(tf::index_t threads) : threads_(threads) {}

  // Optional: with it, a few long rows are cut into parts for all threads.
  tf::index_t threads() const { return threads_; }

  // Calls body(i) for each i in [0, count), in any order, and returns when all are done.
  template <class Body>
  void for_each_index(tf::index_t count, const Body& body) const {
    const auto call = tf::dispatch(body);  // compiled for AVX2 or AVX-512, where this processor has them
    const bool is_worth_it = static_cast<double>(count) * tf::estimated_nanoseconds(body, 1e6) > 5e5;
    std::atomic<tf::index_t> next{0};
    const auto work = [&] {
      for (tf::index_t i; (i = next++) < count;) call(i);
    };
    std::vector<std::jthread> helpers;  // joined when it goes
    for (tf::index_t t = 1; is_worth_it && t < std::min(threads_, count); ++t) helpers.emplace_back(work);
    work();
  }

 private:
  tf::index_t threads_;
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
  const auto mine = draw(my_backend(4)), theirs = draw(tf::cpu_backend(1));
  const bool same =
      std::memcmp(mine.view().data(), theirs.view().data(), rows * columns * sizeof(float)) == 0;
  std::printf("%s\n", same ? "the same bits as cpu_backend" : "other bits than cpu_backend");
  return same ? 0 : 1;
}
