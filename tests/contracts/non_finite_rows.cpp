// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// One broken sample must not poison the weights: its gradient is zero, it is counted, and the loss shows it.

#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/loss_outcome.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"

using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::clipped_grpo;
using tempflow::float16;
using tempflow::index_t;
using tempflow::policy_row;

namespace {

constexpr index_t rows = 4, columns = 37, broken = 2;
constexpr float infinity = std::numeric_limits<float>::infinity();
const clipped_grpo objective{.clip = {1e3, 1e3}, .kl_beta = 0.2};

template <class T>
struct outcome {
  batch_buffer<T> gradient{rows, columns};
  std::vector<policy_row> table = std::vector<policy_row>(rows);
  tempflow::policy_statistics total;

  template <class B>
  outcome(const B& backend, const support::drawn_rows<T>& drawn) {
    for (index_t i = 0; i < rows * columns; ++i) gradient.view().data()[i] = tempflow::store<T>(123.0f);
    total = tempflow::policy_loss(backend, drawn.batch(), drawn.v.view(), drawn.v_ref, objective,
                                  gradient.view(), std::span(table));
  }

  bool is_zero(index_t row) const { return support::row_is_zero(gradient, row); }
};

// The broken row is zero, counted and visible; the others are as they were without it.
template <class T, class B>
void check_only_broken_row_is_dropped(const B& backend, const support::drawn_rows<T>& whole,
                                      const support::drawn_rows<T>& damaged) {
  const outcome<T> before(backend, whole), after(backend, damaged);
  CHECK(before.total.non_finite_rows == 0);
  CHECK(after.total.non_finite_rows == 1);
  CHECK_FALSE(tempflow::is_finite(after.total.loss));
  for (index_t i = 0; i < rows; ++i) {
    INFO("row " << i);
    CHECK(after.table[static_cast<std::size_t>(i)].finite == (i != broken));
    CHECK(after.is_zero(i) == (i == broken));
    if (i != broken)
      CHECK(support::same_bits(after.gradient.view().slice(i, 1), before.gradient.view().slice(i, 1)));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("a NaN or an infinity in a state, a velocity or the reference drops its row and no other",
                   "[non_finite]", float, double, bfloat16, float16) {
  const tempflow::cpu_backend cpu(2);
  const support::drawn_rows<TestType> whole(cpu, rows, columns);
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity}) {
    for (const int which : {0, 1, 2, 3}) {
      auto damaged = whole;
      batch_buffer<TestType>* const batches[] = {&damaged.x, &damaged.v, &damaged.y, &damaged.v_ref};
      batches[which]->view().row(broken)[columns - 1] = tempflow::store<TestType>(value);
      INFO("batch " << which << ", value " << value);
      check_only_broken_row_is_dropped(cpu, whole, damaged);
    }
  }
}

TEST_CASE("a broken row is dropped on the reference backend too", "[non_finite]") {
  const tempflow::reference_backend reference;
  const support::drawn_rows<float> whole(reference, rows, columns);
  auto damaged = whole;
  damaged.v.view().row(broken)[0] = infinity;
  check_only_broken_row_is_dropped(reference, whole, damaged);
}

TEST_CASE("a ratio that overflows drops its row", "[non_finite]") {
  const tempflow::cpu_backend cpu(1);
  const support::drawn_rows<float> whole(cpu, rows, columns);
  auto damaged = whole;
  damaged.log_probs[broken] = -1000;  // exp(1000)
  damaged.advantages[broken] = -1;
  check_only_broken_row_is_dropped(cpu, whole, damaged);
}

TEST_CASE("squares that overflow fp32 drop their row", "[non_finite]") {
  const tempflow::cpu_backend cpu(1);
  const support::drawn_rows<float> whole(cpu, rows, columns);
  auto damaged = whole;
  damaged.v.view().row(broken)[3] = 1e30f;
  check_only_broken_row_is_dropped(cpu, whole, damaged);
}

TEST_CASE("a step so near to deterministic that its slope overflows drops its row", "[non_finite]") {
  const tempflow::cpu_backend cpu(1);
  const support::drawn_rows<float> whole(cpu, rows, columns);
  auto damaged = whole;
  damaged.steps[broken].std = 1e-22;  // 1 / std^2 is beyond fp32, while log-prob and KL are finite in double
  tempflow::log_prob(cpu, damaged.x.view(), damaged.v, damaged.y, damaged.steps, damaged.log_probs);
  REQUIRE(tempflow::is_finite(damaged.log_probs[broken]));
  check_only_broken_row_is_dropped(cpu, whole, damaged);
}

TEST_CASE("a finite slope and a finite residual whose product overflows drop their row", "[non_finite]") {
  const tempflow::cpu_backend cpu(1);
  const support::drawn_rows<float> whole(cpu, rows, columns);
  auto damaged = whole;
  damaged.y.view().row(broken)[3] = 1e18f;  // its square is still a float
  damaged.weights[broken] = 1e25;
  tempflow::log_prob(cpu, damaged.x.view(), damaged.v, damaged.y, damaged.steps, damaged.log_probs);
  check_only_broken_row_is_dropped(cpu, whole, damaged);
}

TEMPLATE_TEST_CASE("what stores the gradient says which rows overflow it, in one call and in two",
                   "[non_finite]", float, double) {
  const tempflow::cpu_backend cpu(1);
  auto damaged = support::drawn_rows<double>(cpu, rows, columns);
  damaged.weights[broken] = 1e60;
  const auto batch = damaged.batch();
  batch_buffer<TestType> gradient(rows, columns);
  std::vector<policy_row> one(rows), two(rows);
  tempflow::policy_loss(cpu, batch, damaged.v, damaged.v_ref, objective, gradient, std::span(one));

  std::vector<tempflow::row_sums> sums(rows);
  std::vector<tempflow::row_factors> factors(rows);
  tempflow::policy_sums(cpu, batch, damaged.v, damaged.v_ref, {}, sums);
  tempflow::policy_scores<TestType>(batch, objective, std::span<const tempflow::row_sums>(sums),
                                    std::span(two), std::span(factors));
  for (std::size_t i = 0; i < rows; ++i) {
    CHECK(one[i].finite == (i != broken || std::is_same_v<TestType, double>));
    CHECK(two[i].finite == one[i].finite);
    CHECK((factors[i].residual != 0) == (one[i].finite != 0));
  }
}

TEST_CASE("a log-prob that is infinite in fp64 drops its row", "[non_finite]") {
  const tempflow::cpu_backend cpu(1);
  const support::drawn_rows<double> whole(cpu, rows, columns);
  auto damaged = whole;
  damaged.y.view().row(broken)[3] = 1e150;
  damaged.steps[broken].std = 1e-30;
  check_only_broken_row_is_dropped(cpu, whole, damaged);
}

TEST_CASE("several broken rows are all counted", "[non_finite]") {
  const tempflow::cpu_backend cpu(1);
  auto damaged = support::drawn_rows<float>(cpu, rows, columns);
  damaged.x.view().row(0)[0] = infinity;
  damaged.y.view().row(3)[1] = -infinity;
  const outcome<float> after(cpu, damaged);
  CHECK(after.total.non_finite_rows == 2);
  CHECK(after.is_zero(0));
  CHECK_FALSE(after.is_zero(1));
  CHECK(after.is_zero(3));
}

TEST_CASE("sampling with a NaN velocity shows it in the row's log-prob and no other", "[non_finite]") {
  const tempflow::cpu_backend cpu(1);
  const auto x = support::random_batch<float>(rows, columns, 1);
  auto v = support::random_batch<float>(rows, columns, 2);
  v.view().row(broken)[5] = std::numeric_limits<float>::quiet_NaN();
  batch_buffer<float> y(rows, columns);
  std::vector<double> log_probs(rows);
  const auto steps = support::mixed_transitions(rows);
  const auto ids = support::mixed_ids(rows);
  tempflow::step(cpu, x.view(), v, steps, {support::test_key, ids}, y, log_probs);
  for (index_t i = 0; i < rows; ++i)
    CHECK(tempflow::is_finite(log_probs[static_cast<std::size_t>(i)]) == (i != broken));
}
