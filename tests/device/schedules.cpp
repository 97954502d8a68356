// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Kernels do not depend on the order in which a device runs their threads. The thread sanitizer finds races here
// (support/fibers.hpp), whatever the order: run this file under it after each change of a kernel.

#if !defined(__CUDACC__)

#include <limits>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/sibling_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/branch_step.hpp"

using support::placed;
using tempflow::batch_buffer;
using tempflow::index_t;

namespace {

template <class B>
batch_buffer<float> gradient_of(const B& backend, const support::drawn_rows<float>& drawn) {
  placed<float, B> x(backend, drawn.x), y(backend, drawn.y), v(backend, drawn.v), v_ref(backend, drawn.v_ref),
      gradient(backend, drawn.rows(), drawn.x.columns());
  auto batch = drawn.batch();
  batch.x = x.view(), batch.y = y.view();
  const tempflow::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.1};
  tempflow::policy_loss(backend, batch, v, v_ref, objective, gradient.view());
  return gradient.values();
}

// The states and log-probs of a branch_step.
template <class B>
std::pair<batch_buffer<float>, std::vector<double>> branches_of(const B& backend,
                                                                const support::drawn_rows<float>& drawn) {
  const index_t rows = drawn.rows(), columns = drawn.x.columns(), explorations = 3;
  placed<float, B> x(backend, drawn.x), v(backend, drawn.v), trunk(backend, rows, columns),
      branches(backend, rows * explorations, columns);
  std::vector<double> log_probs(static_cast<std::size_t>(rows * explorations));
  const auto ids = support::mixed_ids(rows);
  tempflow::branch_step(backend, x.view(), v, drawn.steps, drawn.steps, {support::test_key, ids},
                        trunk.view(), branches.view(), log_probs);
  return {branches.values(), log_probs};
}

// Two blocks of one warp. The first looks at the second's memory, which is there for certain only if they leave
// together.
struct look {
  static constexpr int max_warps = 1;
  bool together;

  void operator()(const support::emulated_thread& thread) const {
    auto* const own = reinterpret_cast<int*>(thread.shared());
    if (thread.lane() == 0) *own = 7;
    thread.sync_cluster();
    if (thread.block_in_cluster() == 0) {
      for (int turn = 0; turn < 3; ++turn) thread.sync_warp();
      if (*thread.in_block(1, own) != 7) throw std::logic_error("other memory");
    }
    if (together) thread.sync_cluster();
  }
};

}  // namespace

TEST_CASE("a loss and its gradient do not depend on the order of threads", "[device][schedules]") {
  const auto check = [](index_t rows, index_t columns, int clusters) {
    const support::drawn_rows<float> drawn(tempflow::cpu_backend(1), rows, columns);
    const auto expected = gradient_of(tempflow::cpu_backend(1), drawn);
    for (unsigned seed = 1; seed <= 4; ++seed) {
      INFO(columns << " columns, clusters of " << clusters << ", seed " << seed);
      const auto backend = support::make_test_device(clusters, seed);
      CHECK(support::same_bits(gradient_of(backend, drawn), expected));
    }
  };
  check(3, 2500, 16);           // one block
  check(2, 10 * 1024 + 5, 16);  // clusters of two
  check(1, 33 * 1024, 16);      // clusters of eight
  check(2, 2500, 0);            // two passes
}

TEST_CASE("a loss of siblings, stored or drawn again, does not depend on the order of threads",
          "[device][schedules]") {
  support::sibling_problem<float> given(tempflow::cpu_backend(1), 9 * 1024 + 5, {3, 1, 0, 2});
  given.v.view().row(1)[7] = std::numeric_limits<float>::infinity();  // drops its state
  const tempflow::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.1};
  const auto gradient_of_siblings = [&](const auto& backend, bool again) {
    using B = std::decay_t<decltype(backend)>;
    placed<float, B> x(backend, given.x), v(backend, given.v), v_ref(backend, given.v_ref),
        y(backend, given.rows.y), gradient(backend, given.states(), given.x.columns());
    auto batch = again ? given.drawn_again() : given.batch();
    if (!again) batch.x = x.view(), batch.y = y.view();
    tempflow::policy_loss(backend, batch, v, v_ref, objective, gradient.view());
    return gradient.values();
  };
  for (const bool again : {false, true}) {
    const auto expected = gradient_of_siblings(tempflow::cpu_backend(1), again);
    for (unsigned seed = 1; seed <= 3; ++seed) {
      INFO((again ? "drawn again" : "stored") << ", seed " << seed);
      CHECK(support::same_bits(gradient_of_siblings(support::make_test_device(16, seed), again), expected));
    }
  }
}

TEST_CASE("explorations and their log-probs do not depend on the order of threads", "[device][schedules]") {
  const support::drawn_rows<float> drawn(tempflow::cpu_backend(1), 2, 2500);
  const auto expected = branches_of(tempflow::cpu_backend(1), drawn);
  for (unsigned seed = 1; seed <= 4; ++seed) {
    INFO("seed " << seed);
    const auto found = branches_of(support::make_test_device(16, seed), drawn);
    CHECK(support::same_bits(found.first, expected.first));
    CHECK(found.second == expected.second);
  }
}

TEST_CASE("the shared memory of a block that has exited is out of reach", "[device][schedules]") {
  const tempflow::launch_shape shape{.blocks = 2, .warps = 1, .cluster = 2, .shared_bytes = 64};
  int found = 0;
  for (unsigned seed = 1; seed <= 10; ++seed) {
    const support::emulated_device device(16, seed);
    CHECK_NOTHROW(device.launch(look{.together = true}, shape));
    try {
      device.launch(look{.together = false}, shape);
    } catch (const std::logic_error&) {
      ++found;
    }
  }
  CHECK(found > 0);
}

#endif
