// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Before the first update the ratio is exactly 1: rollout and training score the same stored bits in the same
// order, in every storage type.

#include <algorithm>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/branch_step.hpp"

using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::float16;
using tempflow::index_t;
using tempflow::policy_row;

namespace {

// Around a lane, a fold and a tile.
constexpr index_t sizes[] = {1, 3, 4, 31, 32, 33, 1023, 1024, 1025, 2345};

template <class T, class B>
void check_ratio_is_one(const B& backend, const support::drawn_rows<T>& drawn) {
  std::vector<policy_row> rows(static_cast<std::size_t>(drawn.rows()));
  batch_buffer<float> gradient(drawn.rows(), drawn.x.columns());
  const auto total = tempflow::policy_loss(backend, drawn.batch(), drawn.v.view(), drawn.v_ref,
                                           tempflow::clipped_grpo{.kl_beta = 0.01}, gradient.view(),
                                           std::span<policy_row>(rows));
  int off = 0;
  for (const auto& row : rows) off += row.log_ratio == 0.0 && row.ratio == 1.0 && row.finite ? 0 : 1;
  CHECK(off == 0);
  CHECK(total.max_abs_log_ratio == 0.0);
  CHECK(total.ratio_min == 1.0);
  CHECK(total.ratio_max == 1.0);
  CHECK(total.approx_kl == 0.0);
  CHECK(total.clip_fraction() == 0.0);
}

}  // namespace

TEMPLATE_TEST_CASE("after step the log-ratio is exactly 0 and the ratio exactly 1", "[on_policy]", float,
                   double, bfloat16, float16) {
  const tempflow::cpu_backend cpu(2);
  for (const index_t columns : sizes) {
    INFO(columns << " columns");
    check_ratio_is_one(cpu, support::drawn_rows<TestType>(cpu, 24, columns));
  }
  const tempflow::reference_backend reference;
  check_ratio_is_one(reference, support::drawn_rows<TestType>(reference, 24, 1025));
}

TEMPLATE_TEST_CASE("the ratio is exactly 1 in every convention of the log-prob", "[on_policy]", float,
                   bfloat16) {
  const tempflow::cpu_backend cpu(2);
  for (const auto convention : support::all_conventions()) {
    check_ratio_is_one(cpu, support::drawn_rows<TestType>(cpu, 24, 1025, convention));
  }
}

TEMPLATE_TEST_CASE("after branch_step the log-ratio is exactly 0 and the ratio exactly 1", "[on_policy]",
                   float, double, bfloat16, float16) {
  const tempflow::cpu_backend cpu(2);
  constexpr index_t seeds = 5, explorations = 6;
  for (const index_t columns : sizes) {
    INFO(columns << " columns");
    support::drawn_rows<TestType> drawn(cpu, seeds * explorations, columns);
    // Siblings share state, velocity and transition.
    const auto x = support::random_batch<TestType>(seeds, columns, 5);
    const auto v = support::random_batch<TestType>(seeds, columns, 6);
    const auto steps = support::mixed_transitions(seeds);
    for (index_t i = 0; i < drawn.rows(); ++i) {
      std::copy_n(x.view().row(i / explorations), columns, drawn.x.view().row(i));
      std::copy_n(v.view().row(i / explorations), columns, drawn.v.view().row(i));
      drawn.steps[static_cast<std::size_t>(i)] = steps[static_cast<std::size_t>(i / explorations)];
    }
    batch_buffer<TestType> trunk(seeds, columns);
    const auto ids = support::mixed_ids(seeds);
    tempflow::branch_step(cpu, x.view(), v, tempflow::transition{}, steps, {support::test_key, ids}, trunk,
                          drawn.y, drawn.log_probs);
    check_ratio_is_one(cpu, drawn);
  }
}

TEMPLATE_TEST_CASE("log_prob gives the bits that step gave", "[on_policy]", float, double, bfloat16,
                   float16) {
  const tempflow::cpu_backend cpu(2);
  for (const index_t columns : sizes) {
    const support::drawn_rows<TestType> drawn(cpu, 24, columns);
    std::vector<double> again(24);
    tempflow::log_prob(cpu, drawn.x.view(), drawn.v, drawn.y, drawn.steps, again);
    INFO(columns << " columns");
    CHECK(support::same_bits(again, drawn.log_probs));
  }
}

TEST_CASE("rows may mix steps, samplers, prompts and branches", "[on_policy]") {
  const auto steps = support::mixed_transitions(24);
  int distinct = 0;
  for (std::size_t i = 1; i < steps.size(); ++i) distinct += steps[i] == steps[i - 1] ? 0 : 1;
  CHECK(distinct == 23);
}
