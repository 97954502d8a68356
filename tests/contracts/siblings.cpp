// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Transitions that leave one state: what each comes to is what it comes to alone, and the state's gradient is the
// sum of theirs.

#include "support/sibling_problem.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/loss_outcome.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/branch_step.hpp"

using support::loss_outcome;
using support::same_numbers;
using support::sibling_problem;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::clipped_grpo;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::policy_row;

namespace {

const clipped_grpo objective{.clip = {1e-3, 2e-3}, .kl_beta = 0.2};

template <class G, class T, class B>
loss_outcome<G> loss_of(const B& backend, const tempflow::policy_batch<T>& batch, const batch_buffer<T>& v,
                        const batch_buffer<T>& v_ref, const clipped_grpo& with = objective) {
  loss_outcome<G> out{.gradient = batch_buffer<G>(v.rows(), v.columns()),
                      .rows = std::vector<policy_row>(static_cast<std::size_t>(batch.y.rows())),
                      .total = {}};
  for (index_t i = 0; i < v.rows() * v.columns(); ++i)
    out.gradient.view().data()[i] = tempflow::store<G>(77.0f);
  out.total = tempflow::policy_loss(backend, batch, v.view(), v_ref, with, out.gradient.view(),
                                    std::span<policy_row>(out.rows));
  return out;
}

template <class G, class T, class B>
loss_outcome<G> loss_of(const B& backend, const sibling_problem<T>& given,
                        const clipped_grpo& with = objective) {
  return loss_of<G>(backend, given.batch(), given.v, given.v_ref, with);
}
template <class G, class T, class B>
loss_outcome<G> loss_of_rows(const B& backend, const sibling_problem<T>& given,
                             const clipped_grpo& with = objective) {
  return loss_of<G>(backend, given.rows.batch(), given.rows.v, given.rows.v_ref, with);
}

// Elements of a state's gradient that are farther from the sum of its rows' than roundings take them. Alone, each row
// rounds its product and its sum, in the type that rows are computed in; together, each of K + 1 terms once, and n c2.
template <class G, class B, class T>
int wrong_sums(const B& backend, const sibling_problem<T>& given) {
  const auto together = loss_of<G>(backend, given), alone = loss_of_rows<G>(backend, given),
             without_kl = loss_of_rows<G>(backend, given, {.clip = objective.clip});
  const double epsilon = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;
  int wrong = 0;
  for (std::size_t s = 0; s < given.counts.size(); ++s) {
    const auto count = static_cast<double>(given.counts[s]);
    for (index_t e = 0; e < given.x.columns(); ++e) {
      double sum = 0, terms = 0;
      for (std::size_t row = given.first(s); row < given.first(s + 1); ++row) {
        const auto at = [&](const auto& of) {
          return support::value_of(of.gradient.view().row(static_cast<index_t>(row))[e]);
        };
        sum += at(alone);
        terms += std::abs(at(without_kl)) + std::abs(at(alone) - at(without_kl));
      }
      const double found = support::value_of(together.gradient.view().row(static_cast<index_t>(s))[e]);
      wrong += std::abs(found - sum) <= (count + 5) * epsilon * terms ? 0 : 1;
    }
  }
  CHECK(same_numbers(together.rows, alone.rows));
  CHECK(together.total.loss == alone.total.loss);
  return wrong;
}

}  // namespace

TEMPLATE_TEST_CASE("a state's gradient is the sum of its rows', and rows are what they are alone",
                   "[siblings]", float, double, bfloat16, float16) {
  using gradient = std::conditional_t<std::is_same_v<TestType, double>, double, float>;
  for (const index_t columns : {1, 31, 32, 1024, 2345}) {
    INFO(columns << " columns");
    sibling_problem<TestType> given(cpu_backend(2), columns);
    CHECK(wrong_sums<gradient>(cpu_backend(2), given) == 0);
    given.leave_policy();
    if (columns == 2345) {
      const double clipped = loss_of<gradient>(cpu_backend(2), given).total.clip_fraction();
      REQUIRE((clipped > 0.1 && clipped < 0.9));
    }
    CHECK(wrong_sums<gradient>(cpu_backend(2), given) == 0);
    CHECK(wrong_sums<gradient>(tempflow::reference_backend{}, given) == 0);
  }
}

TEMPLATE_TEST_CASE("a row that leaves its state alone has the bits that it has without offsets", "[siblings]",
                   float, double, bfloat16, float16) {
  sibling_problem<TestType> given(cpu_backend(1), 2345);
  for (const bool on_policy : {true, false}) {
    if (!on_policy) given.leave_policy();
    const auto together = loss_of<TestType>(cpu_backend(1), given),
               alone = loss_of_rows<TestType>(cpu_backend(1), given);
    int singles = 0;
    for (std::size_t s = 0; s < given.counts.size(); ++s) {
      if (given.counts[s] != 1) continue;
      ++singles;
      CHECK(support::same_bits(together.gradient.view().slice(static_cast<index_t>(s), 1),
                               alone.gradient.view().slice(given.offsets[s], 1)));
    }
    CHECK(singles == 2);
  }
  const std::vector<index_t> ones(7, 1);
  const sibling_problem<TestType> own(cpu_backend(1), 1030, ones);
  CHECK(support::same_bits(loss_of<TestType>(cpu_backend(1), own).gradient,
                           loss_of_rows<TestType>(cpu_backend(1), own).gradient));
}

TEMPLATE_TEST_CASE("a gradient of siblings in a narrow type is that in fp32, rounded once", "[siblings]",
                   bfloat16, float16) {
  sibling_problem<TestType> given(cpu_backend(1), 1030);
  given.leave_policy();
  const auto wide = loss_of<float>(cpu_backend(1), given);
  const auto narrow = loss_of<TestType>(cpu_backend(1), given);
  int wrong = 0;
  for (index_t i = 0; i < given.states() * 1030; ++i) {
    wrong +=
        narrow.gradient.view().data()[i] == tempflow::store<TestType>(wide.gradient.view().data()[i]) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("log-probs of siblings have the bits of rows", "[siblings]", float, double, bfloat16,
                   float16) {
  const auto check = [](const auto& backend) {
    for (const auto convention : support::all_conventions()) {
      const sibling_problem<TestType> given(backend, 1030, support::mixed_counts, convention);
      std::vector<double> scored(static_cast<std::size_t>(given.total()));
      tempflow::log_prob(backend, given.batch(), given.v.view(), scored);
      CHECK(support::same_bits(scored, given.rows.log_probs));
    }
  };
  check(cpu_backend(2));
  check(tempflow::reference_backend{});
}

TEMPLATE_TEST_CASE("after branch_step the log-ratio of siblings is exactly 0", "[siblings]", float, double,
                   bfloat16, float16) {
  constexpr index_t explorations = 5;
  const cpu_backend cpu(2);
  for (const index_t columns : {1, 33, 1025, 2345}) {
    sibling_problem<TestType> given(cpu, columns, std::vector<index_t>(6, explorations));
    const auto ids = support::mixed_ids(6);
    tempflow::branch_step(cpu, given.x.view(), given.v, {}, given.steps, {support::test_key, ids, true}, {},
                          given.rows.y, given.rows.log_probs);
    const auto found = loss_of<TestType>(cpu, given);
    CHECK(found.total.max_abs_log_ratio == 0);
    CHECK((found.total.ratio_min == 1 && found.total.ratio_max == 1 && found.total.non_finite_rows == 0));
  }
}

TEMPLATE_TEST_CASE(
    "one pass or two, the gradient of siblings has the same bits, and may replace x, v or v_ref",
    "[siblings]", float, double, bfloat16, float16) {
  const cpu_backend cpu(1);
  for (const bool on_policy : {true, false}) {
    sibling_problem<TestType> given(cpu, 2345);
    if (!on_policy) given.rows.log_probs[5] += 0.01;  // the fourth state, and no other
    const auto apart = loss_of<TestType>(cpu, given);
    for (const int which : {0, 1, 2}) {
      auto mine = given;
      batch_buffer<TestType>* const batches[] = {&mine.x, &mine.v, &mine.v_ref};
      tempflow::policy_loss(cpu, mine.batch(), mine.v.view(), mine.v_ref, objective, batches[which]->view());
      INFO((on_policy ? "on" : "off") << " policy, over batch " << which);
      CHECK(support::same_bits(*batches[which], apart.gradient));
    }
    for (index_t s = 0; s < given.states(); ++s) {  // each alone
      auto batch = given.batch();
      const index_t first = given.offsets[static_cast<std::size_t>(s)];
      const auto at = static_cast<std::size_t>(first),
                 count = static_cast<std::size_t>(given.counts[static_cast<std::size_t>(s)]);
      const std::vector<index_t> own{0, static_cast<index_t>(count)};
      batch.x = batch.x.slice(s, 1), batch.y = batch.y.slice(first, own[1]), batch.offsets = own;
      batch.transitions = given.steps[static_cast<std::size_t>(s)];
      batch.old_log_probs = batch.old_log_probs.subspan(at, count);
      batch.advantages = batch.advantages.subspan(at, count);
      const std::vector<double> weights(given.rows.weights.begin() + first,
                                        given.rows.weights.begin() + first + own[1]);
      batch.weights = weights, batch.mean_over = given.total();
      batch_buffer<TestType> alone(1, 2345);
      tempflow::policy_loss(cpu, batch, given.v.view().slice(s, 1), given.v_ref.view().slice(s, 1), objective,
                            alone.view());
      CHECK(support::same_bits(alone.view(), apart.gradient.view().slice(s, 1)));
    }
  }
}

TEMPLATE_TEST_CASE("siblings do not depend on threads or instructions", "[siblings]", float, bfloat16) {
  using tempflow::instruction_set;
  for (const bool on_policy : {true, false}) {
    // Few long rows, which threads share.
    sibling_problem<TestType> given(cpu_backend(1), 40 * 1024 + 7, {2, 5, 0});
    if (!on_policy) given.leave_policy();
    const auto expected = loss_of<TestType>(cpu_backend(1, instruction_set::portable), given);
    for (const auto instructions :
         {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
      for (const int threads : {1, 4}) {
        const auto found = loss_of<TestType>(cpu_backend(threads, instructions), given);
        INFO(to_string(instructions) << ", " << threads << " threads");
        CHECK(support::same_bits(found.gradient, expected.gradient));
        CHECK(same_numbers(found.rows, expected.rows));
      }
    }
  }
}

TEST_CASE("a gradient of siblings past the caches has the same bits", "[siblings]") {
  constexpr index_t columns = 131072;
  const sibling_problem<float> given(cpu_backend(2), columns, {2, 3, 1, 0, 2, 2, 1, 1, 1});
  batch_buffer<float> aligned(9, columns);
  REQUIRE(tempflow::detail::worth_streaming(aligned.view()));
  tempflow::policy_loss(cpu_backend(2), given.batch(), given.v.view(), given.v_ref, objective,
                        aligned.view());
  std::vector<float> memory(9 * (columns + 1));
  const batch_view<float> unaligned(memory.data(), 9, columns, columns + 1);
  tempflow::policy_loss(cpu_backend(2), given.batch(), given.v.view(), given.v_ref, objective, unaligned);
  CHECK(support::same_bits(aligned.view(), unaligned));
}

TEMPLATE_TEST_CASE("a broken sibling is left out of the gradient, and the others are as they were",
                   "[siblings]", float, double, bfloat16, float16) {
  const cpu_backend cpu(1);
  for (const bool on_policy : {true, false}) {
    sibling_problem<TestType> whole(cpu, 37, {3, 4, 1});
    if (!on_policy) whole.leave_policy();
    // Without row 4: the second of the second state.
    sibling_problem<TestType> fewer(cpu, 37, {3, 3, 1});
    std::vector<index_t> kept{0, 1, 2, 3, 5, 6, 7};
    for (std::size_t i = 0; i < kept.size(); ++i) {
      const auto from = static_cast<std::size_t>(kept[i]);
      std::copy_n(whole.rows.y.view().row(kept[i]), 37, fewer.rows.y.view().row(static_cast<index_t>(i)));
      fewer.rows.log_probs[i] = whole.rows.log_probs[from];
      fewer.rows.advantages[i] = whole.rows.advantages[from];
      fewer.rows.weights[i] = whole.rows.weights[from];
    }
    auto damaged = whole;
    damaged.rows.y.view().row(4)[36] = tempflow::store<TestType>(std::numeric_limits<float>::infinity());
    auto of_fewer = fewer.batch();
    of_fewer.mean_over = 8;
    const auto expected = loss_of<TestType>(cpu, of_fewer, fewer.v, fewer.v_ref);
    const auto found = loss_of<TestType>(cpu, damaged);
    CHECK(support::same_bits(found.gradient, expected.gradient));
    CHECK(found.total.non_finite_rows == 1);
    CHECK_FALSE(tempflow::is_finite(found.total.loss));
    for (std::size_t i = 0; i < 8; ++i) CHECK(found.rows[i].finite == (i != 4));
  }
}

TEMPLATE_TEST_CASE("a broken velocity or state drops all that leave the state, and no other", "[siblings]",
                   float, bfloat16) {
  const cpu_backend cpu(1);
  const sibling_problem<TestType> whole(cpu, 37, {3, 4, 1});
  const auto before = loss_of<TestType>(cpu, whole);
  for (const int which : {0, 1, 2}) {
    auto damaged = whole;
    batch_buffer<TestType>* const batches[] = {&damaged.x, &damaged.v, &damaged.v_ref};
    batches[which]->view().row(1)[5] = tempflow::store<TestType>(std::numeric_limits<float>::quiet_NaN());
    const auto after = loss_of<TestType>(cpu, damaged);
    CHECK(after.total.non_finite_rows == 4);
    for (index_t s = 0; s < 3; ++s) {
      CHECK(after.is_zero(s) == (s == 1));
      if (s != 1)
        CHECK(support::same_bits(after.gradient.view().slice(s, 1), before.gradient.view().slice(s, 1)));
    }
  }
}

TEST_CASE("a state whose fp16 gradient overflows is left out with all its rows", "[siblings]") {
  const cpu_backend cpu(1);
  sibling_problem<float16> given(cpu, 37, {3, 4, 1});
  for (std::size_t i = 3; i < 7; ++i) given.rows.weights[i] = 1e9;
  const auto found = loss_of<float16>(cpu, given);
  CHECK(found.total.non_finite_rows == 4);
  for (std::size_t i = 0; i < 8; ++i) CHECK(found.rows[i].finite == (i < 3 || i == 7));
  CHECK_FALSE(found.is_zero(0));
  CHECK(found.is_zero(1));
}

TEST_CASE("a state that no transition leaves has a gradient of zeros", "[siblings]") {
  const cpu_backend cpu(1);
  const sibling_problem<float> given(cpu, 37);
  const auto found = loss_of<float>(cpu, given);
  for (index_t s = 0; s < given.states(); ++s)
    CHECK(found.is_zero(s) == (given.counts[static_cast<std::size_t>(s)] == 0));
  const sibling_problem<float> nothing(cpu, 37, {0, 0});
  const auto none = loss_of<float>(cpu, nothing);
  CHECK((none.total.rows == 0 && none.total.loss == 0));
  CHECK((none.is_zero(0) && none.is_zero(1)));
}

TEST_CASE("the numbers of siblings are the same without a gradient", "[siblings]") {
  const cpu_backend cpu(1);
  sibling_problem<float> given(cpu, 1030);
  given.leave_policy();
  const auto with = loss_of<float>(cpu, given);
  std::vector<policy_row> rows(static_cast<std::size_t>(given.total()));
  tempflow::policy_loss(cpu, given.batch(), given.v.view(), given.v_ref, objective, batch_view<float>(),
                        std::span<policy_row>(rows));
  CHECK(same_numbers(rows, with.rows));
  CHECK(tempflow::policy_loss(cpu, given.batch(), given.v.view(), given.v_ref, objective, batch_view<float>())
            .loss == with.total.loss);
}

TEST_CASE("siblings on the cpu are near to the reference's", "[siblings]") {
  sibling_problem<float> given(cpu_backend(1), 1030);
  given.leave_policy();
  const auto found = loss_of<float>(cpu_backend(1), given),
             expected = loss_of<float>(tempflow::reference_backend{}, given);
  // Terms of up to some 1e-2, seven of them, each within 2^-23 of a term: slopes are rounded, too.
  CHECK(support::largest_difference(support::values_of(found.gradient.view()),
                                    support::values_of(expected.gradient.view())) < 1e-7);
}
