// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Batches that ask much of the workspace: many rows, and long ones.

#if !defined(__CUDACC__)

#include <cstddef>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"

using support::placed;
using tempflow::cpu_backend;
using tempflow::index_t;

namespace {

const tempflow::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.1};

}  // namespace

TEST_CASE("rows beyond the standing counters have counters of their own", "[device][workspace]") {
  // One row more than counters that are always there, without clusters. A block has 8 rows; every 512th block is
  // run, and the last. (The second pass of the loss begins with the last row, so of its rows each 4096th is whole.)
  constexpr index_t rows = tempflow::detail::standing_counters + 1, columns = 3, every = 512;
  const auto is_run = [](index_t row) { return row / 8 % every == 0 || row == rows - 1; };
  const support::drawn_rows<float> drawn(cpu_backend(1), rows, columns);
  const auto backend = support::make_test_device(0);
  backend.device().run_every(every);
  placed<float, support::test_device> x(backend, drawn.x), v(backend, drawn.v), v_ref(backend, drawn.v_ref),
      y(backend, rows, columns), gradient(backend, rows, columns);
  const auto ids = support::mixed_ids(rows);
  std::vector<double> log_probs(rows), scored(rows);
  tempflow::step(backend, x.view(), v, drawn.steps, {support::test_key, ids}, y.view(), log_probs);
  tempflow::copy_from_host(backend, drawn.y.view(), y.view());
  tempflow::log_prob(backend, x.view(), v, y, drawn.steps, scored);
  int wrong = 0;
  for (index_t i = 0; i < rows; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (is_run(i)) wrong += log_probs[at] == drawn.log_probs[at] && scored[at] == drawn.log_probs[at] ? 0 : 1;
  }
  CHECK(wrong == 0);

  auto batch = drawn.batch();
  std::vector<tempflow::policy_row> found(rows), expected(rows);
  tempflow::batch_buffer<float> expected_gradient(rows, columns);
  tempflow::policy_loss_rows(cpu_backend(1), batch, drawn.v, drawn.v_ref, objective, expected_gradient.view(),
                             std::span(expected));
  batch.x = x.view(), batch.y = y.view();
  tempflow::policy_loss_rows(backend, batch, v, v_ref, objective, gradient.view(), std::span(found));
  const auto gradients = gradient.values();
  for (index_t i = 0; i < rows; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (is_run(i)) wrong += found[at].log_ratio == 0 && found[at].kl == expected[at].kl ? 0 : 1;
    if (i % 4096 == 0) {
      wrong += support::same_bits(gradients.view().slice(i, 1), expected_gradient.view().slice(i, 1)) ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
  CHECK(backend.device().guards_stand());
}

TEST_CASE("the bytes that a workspace is said to need are enough for long rows and no explorations",
          "[device][workspace]") {
  // So many tiles that the sums of each are most of it. Two blocks are run, since it is about room.
  constexpr index_t rows = 1, columns = 600 * 1024;
  const auto owner = support::make_test_device(0);
  owner.device().run_every(columns);
  const std::size_t bytes = tempflow::device_workspace_bytes(rows, columns);
  auto memory = owner.make_buffer<double>(1, static_cast<index_t>(bytes / sizeof(double)) + 1);
  auto* const start = reinterpret_cast<std::byte*>(memory.view().data());
  const support::test_device backend(owner.device(), std::span(start, bytes));
  placed<float, support::test_device> all(backend, rows, columns), gradient(backend, rows, columns);
  const std::vector<tempflow::transition> steps = support::mixed_transitions(rows);
  const std::vector<double> numbers(rows, 0.5);
  const tempflow::policy_batch<float> batch{.x = all.view(),
                                            .y = all.view(),
                                            .transitions = steps,
                                            .old_log_probs = numbers,
                                            .advantages = numbers,
                                            .weights = numbers};
  std::vector<tempflow::policy_row> of_rows(rows);
  CHECK_NOTHROW(
      tempflow::policy_loss_rows(backend, batch, all, all, objective, gradient.view(), std::span(of_rows)));
  std::vector<tempflow::row_sums> sums(rows);
  CHECK_NOTHROW(tempflow::policy_sums(backend, batch, all, all, all, sums));  // seven of each tile
  CHECK(owner.device().guards_stand());
}

#endif
