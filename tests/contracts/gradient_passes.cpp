// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// However many passes over memory a gradient takes, and past which caches, its bits are the same.

#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"

using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::clipped_grpo;
using tempflow::cpu_backend;
using tempflow::index_t;

namespace {

const clipped_grpo objective{.clip = {1e-4, 1e-4}, .kl_beta = 0.2};

template <class T>
void compute(const cpu_backend& cpu, const support::drawn_rows<T>& drawn, batch_view<T> gradient) {
  tempflow::policy_loss(cpu, drawn.batch(), drawn.v.view(), drawn.v_ref, objective, gradient);
}

}  // namespace

TEMPLATE_TEST_CASE("rows on and off policy do not touch each other's gradients", "[gradient]", float,
                   bfloat16) {
  constexpr index_t rows = 9, columns = 2345;
  const cpu_backend cpu(1);
  support::drawn_rows<TestType> drawn(cpu, rows, columns);
  for (const std::size_t off : {2, 3, 7}) drawn.log_probs[off] -= 0.01;  // of old policies
  drawn.advantages[2] = drawn.advantages[4] = 0;  // slopes of 0, whose signs are bits too
  batch_buffer<TestType> together(rows, columns), one_by_one(rows, columns);
  compute(cpu, drawn, together.view());
  for (index_t i = 0; i < rows; ++i) {
    auto row = drawn.batch();
    row.x = row.x.slice(i, 1), row.y = row.y.slice(i, 1);
    const auto at = static_cast<std::size_t>(i);
    row.transitions = drawn.steps[at], row.weights = drawn.weights[at];
    row.old_log_probs = row.old_log_probs.subspan(at, 1), row.advantages = row.advantages.subspan(at, 1);
    row.mean_over = rows;
    tempflow::policy_loss(cpu, row, drawn.v.view().slice(i, 1), drawn.v_ref.view().slice(i, 1), objective,
                          one_by_one.view().slice(i, 1));
  }
  CHECK(support::same_bits(together, one_by_one));
}

TEMPLATE_TEST_CASE("a gradient written past the caches, beside its place or over an input has the same bits",
                   "[gradient]", float, bfloat16) {
  constexpr index_t rows = 40, columns = 65536;  // above the size from which stores go past the caches
  const cpu_backend cpu(3);
  support::drawn_rows<TestType> drawn(cpu, rows, columns);
  const bool on_policy = GENERATE(true, false);
  INFO((on_policy ? "on" : "off") << " policy");
  if (!on_policy) drawn.log_probs[0] += 0.01;
  batch_buffer<TestType> aligned(rows, columns);
  REQUIRE(tempflow::detail::worth_streaming(aligned.view()));
  compute(cpu, drawn, aligned.view());

  std::vector<TestType> memory(static_cast<std::size_t>(rows * (columns + 1)));
  const batch_view<TestType> unaligned(memory.data(), rows, columns, columns + 1);
  REQUIRE_FALSE(tempflow::detail::worth_streaming(unaligned));
  compute(cpu, drawn, unaligned);
  CHECK(support::same_bits(aligned.view(), unaligned));

  compute(cpu, drawn, drawn.v_ref.view());
  CHECK(support::same_bits(aligned, drawn.v_ref));
}
