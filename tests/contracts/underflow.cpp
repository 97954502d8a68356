// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Gradients too small for their storage type are counted.

#include <algorithm>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"

using tempflow::batch_buffer;
using tempflow::float16;
using tempflow::index_t;

namespace {

constexpr index_t rows = 6, columns = 4096;

/// Rows of which more than half of the gradient's elements were stored as zeros.
template <class G>
index_t mostly_zero(const batch_buffer<G>& gradient) {
  index_t found = 0;
  for (index_t i = 0; i < gradient.rows(); ++i) {
    const G* const row = gradient.view().row(i);
    const auto zeros = std::count_if(row, row + columns, [](G g) { return tempflow::load(g) == 0; });
    found += zeros > columns / 2 ? 1 : 0;
  }
  return found;
}

}  // namespace

TEST_CASE("rows whose fp16 gradient is mostly zeros are counted, and in fp32 there are none", "[storage]") {
  const tempflow::cpu_backend cpu(1);
  const support::drawn_rows<float16> drawn(cpu, rows, columns);
  bool seen[2] = {};
  for (const index_t mean_over :
       {index_t{1}, index_t{72}, index_t{1000}, index_t{10368}, index_t{10'000'000}}) {
    auto batch = drawn.batch();
    batch.mean_over = mean_over;
    batch_buffer<float16> narrow(rows, columns);
    batch_buffer<float> wide(rows, columns);
    const auto in_fp16 = tempflow::policy_loss(cpu, batch, drawn.v, {}, tempflow::clipped_grpo{}, narrow);
    const auto in_fp32 = tempflow::policy_loss(cpu, batch, drawn.v, {}, tempflow::clipped_grpo{}, wide);
    INFO("mean over " << mean_over);
    CHECK(in_fp16.underflowed_rows == mostly_zero(narrow));
    CHECK(in_fp32.underflowed_rows == 0);
    CHECK(mostly_zero(wide) == 0);
    seen[0] = seen[0] || in_fp16.underflowed_rows == 0;
    seen[1] = seen[1] || in_fp16.underflowed_rows == rows;
  }
  CHECK((seen[0] && seen[1]));
}

TEST_CASE("a loss scale takes an fp16 gradient out of the underflow; a row that teaches nothing is not in it",
          "[storage]") {
  const tempflow::cpu_backend cpu(1);
  support::drawn_rows<float16> drawn(cpu, rows, columns);
  drawn.advantages[2] = 0;
  auto batch = drawn.batch();
  batch.mean_over = 10'000'000;
  batch_buffer<float16> gradient(rows, columns);
  const tempflow::clipped_grpo objective;
  CHECK(tempflow::policy_loss(cpu, batch, drawn.v, {}, objective, gradient).underflowed_rows == rows - 1);
  batch.gradient_scale = 0x1p20;
  CHECK(tempflow::policy_loss(cpu, batch, drawn.v, {}, objective, gradient).underflowed_rows == 0);
}

TEST_CASE("gradients of fp16 velocities are best kept in fp32", "[storage]") {
  STATIC_REQUIRE(std::is_same_v<tempflow::gradient_t<float16>, float>);
  STATIC_REQUIRE(std::is_same_v<tempflow::gradient_t<tempflow::bfloat16>, tempflow::bfloat16>);
  STATIC_REQUIRE(std::is_same_v<tempflow::gradient_t<double>, double>);
}

TEST_CASE("an fp16 gradient that overflows in one element, wherever it is, leaves its row out", "[storage]") {
  const tempflow::cpu_backend cpu(1);
  constexpr index_t few = 7;
  for (index_t e = 0; e < few; ++e) {
    support::drawn_rows<float16> drawn(cpu, 2, few);
    drawn.y.view().row(0)[e] = tempflow::store<float16>(3e4f);
    tempflow::log_prob(cpu, drawn.x.view(), drawn.v, drawn.y, drawn.steps, drawn.log_probs);
    auto batch = drawn.batch();
    batch.gradient_scale = 1024;
    batch_buffer<float16> gradient(2, few);
    const auto total = tempflow::policy_loss(cpu, batch, drawn.v, {}, tempflow::clipped_grpo{}, gradient);
    INFO("element " << e);
    CHECK(total.non_finite_rows == 1);
    for (index_t k = 0; k < few; ++k) CHECK(tempflow::load(gradient.view().row(0)[k]) == 0);
    CHECK(tempflow::load(gradient.view().row(1)[e]) != 0);
  }
}

TEST_CASE("without a gradient nothing underflows", "[storage]") {
  const tempflow::cpu_backend cpu(1);
  const support::drawn_rows<float16> drawn(cpu, rows, columns);
  auto batch = drawn.batch();
  batch.mean_over = 10'000'000;
  const auto total = tempflow::policy_loss(cpu, batch, drawn.v, {}, tempflow::clipped_grpo{},
                                           tempflow::batch_view<float16>());
  CHECK(total.underflowed_rows == 0);
}
