// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The loss of transitions whose noise is drawn again: on policy by definition, and the stored form's but for what y lost
// when it was stored.

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/loss_outcome.hpp"
#include "support/outputs.hpp"
#include "support/sibling_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/fill_noise.hpp"

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
using tempflow::noise_source;
using tempflow::policy_row;

namespace {

const clipped_grpo objective{.clip = {1e-3, 2e-3}, .kl_beta = 0.2};

template <class G, class T, class B>
loss_outcome<G> loss_of(const B& backend, const tempflow::policy_batch<T>& batch,
                        const sibling_problem<T>& given, const clipped_grpo& with = objective) {
  loss_outcome<G> out{.gradient = support::random_batch<G>(given.states(), given.x.columns(), 5),
                      .rows = std::vector<policy_row>(static_cast<std::size_t>(given.total())),
                      .total = {}};
  const batch_view<const T> v_ref = with.kl_beta > 0 ? given.v_ref.view() : batch_view<const T>();
  out.total = tempflow::policy_loss(backend, batch, given.v.view(), v_ref, with, out.gradient.view(),
                                    std::span<policy_row>(out.rows));
  return out;
}

// Elements that differ by more than roundings: of a draw (alpha x, mean, y), of its residual (y - alpha x, r), and, in
// both forms, of the products and sums of n + 1 terms.
template <class T>
int wrong_elements(const sibling_problem<T>& given, const batch_view<const T>& stored,
                   const batch_view<const T>& again) {
  const double epsilon = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24,
               elements = static_cast<double>(stored.columns()), total = static_cast<double>(given.total());
  int wrong = 0;
  for (std::size_t s = 0; s < given.counts.size(); ++s) {
    const auto state = static_cast<index_t>(s);
    const auto& step = given.steps[s];
    const auto count = static_cast<double>(given.counts[s]);
    for (index_t e = 0; e < stored.columns(); ++e) {
      const double x = step.alpha * support::value_of(given.x.view().row(state)[e]),
                   v = support::value_of(given.v.view().row(state)[e]),
                   d = v - support::value_of(given.v_ref.view().row(state)[e]), mean = x + step.beta * v;
      double bound = 2 * (count + 5) * count * objective.kl_beta * step.beta * step.beta * std::abs(d) /
                     (total * elements * step.std * step.std);
      for (std::size_t row = given.first(s); row < given.first(s + 1); ++row) {
        const double y = support::value_of(given.rows.y.view().row(static_cast<index_t>(row))[e]);
        const double slope = given.rows.weights[row] * given.rows.advantages[row] * step.beta /
                             (step.std * step.std * elements * total);
        bound += std::abs(slope) *
                 (std::abs(x) + std::abs(mean) + std::abs(y) + std::abs(y - x) + std::abs(y - mean));
        bound += 2 * (count + 5) * std::abs(slope * (y - mean));
      }
      const double apart = support::value_of(stored.row(state)[e]) - support::value_of(again.row(state)[e]);
      wrong += std::abs(apart) <= epsilon * bound ? 0 : 1;
    }
  }
  return wrong;
}

}  // namespace

TEMPLATE_TEST_CASE("drawn again, a gradient is the stored form's to rounding, and its numbers to the bit",
                   "[drawn_again]", float, double) {
  const auto check = [](const auto& backend) {
    for (const index_t columns : {1, 5, 256, 1024, 2345}) {
      for (const bool antithetic : {false, true}) {
        INFO(columns << " columns");
        sibling_problem<TestType> given(backend, columns);
        given.draw(backend, antithetic);
        const auto stored = loss_of<TestType>(backend, given.batch(), given),
                   again = loss_of<TestType>(backend, given.drawn_again(), given);
        CHECK(wrong_elements<TestType>(given, stored.gradient.view(), again.gradient.view()) == 0);
        CHECK(same_numbers(again.rows, stored.rows));
        CHECK(again.total.max_abs_log_ratio == 0);
      }
    }
  };
  check(cpu_backend(2));
  check(tempflow::reference_backend{});
}

TEMPLATE_TEST_CASE("what is drawn again has the numbers of the stored form in every storage type",
                   "[drawn_again]", bfloat16, float16) {
  sibling_problem<TestType> given(cpu_backend(1), 1030);
  given.draw(cpu_backend(1), true);
  const auto again = loss_of<TestType>(cpu_backend(1), given.drawn_again(), given);
  CHECK(same_numbers(again.rows, loss_of<TestType>(cpu_backend(1), given.batch(), given).rows));
  const auto wide = loss_of<float>(cpu_backend(1), given.drawn_again(), given);
  int wrong = 0;
  for (index_t i = 0; i < given.states() * 1030; ++i)
    wrong +=
        again.gradient.view().data()[i] == tempflow::store<TestType>(wide.gradient.view().data()[i]) ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE("in bf16, the mean gradient of what is drawn again is the closed form's", "[drawn_again]") {
  // Advantages c z of many draws from one state: E[(c z) z_e] = c_e, and Var[(c z) z_e] = |c|^2 + c_e^2.
  constexpr index_t columns = 8, draws = 40000;
  const cpu_backend cpu(2);
  sibling_problem<bfloat16> given(cpu, columns, {draws});
  std::vector<tempflow::noise_id> ids;
  for (std::uint32_t i = 0; i < draws; ++i) ids.push_back({.prompt = i});
  given.ids = ids;
  batch_buffer<float> noise(draws, columns);
  tempflow::fill_noise(cpu, {support::test_key, ids}, noise.view());
  const std::vector<double> c{0.1, -0.2, 0, 0.3, 0.05, -0.1, 0.15, 0.2};
  double length = 0;
  for (const double part : c) length += part * part;
  for (index_t i = 0; i < draws; ++i) {
    double advantage = 0;
    for (std::size_t e = 0; e < columns; ++e) advantage += c[e] * double{noise.view().row(i)[e]};
    given.rows.advantages[static_cast<std::size_t>(i)] = advantage;
  }
  auto batch = given.drawn_again();
  batch.weights = 1.0;
  batch_buffer<float> gradient(1, columns);
  tempflow::policy_loss(cpu, batch, given.v.view(), {}, clipped_grpo{}, gradient.view());
  const auto& step = given.steps[0];
  for (std::size_t e = 0; e < columns; ++e) {
    const double mean = double{gradient.view().row(0)[e]} / (-step.beta / (columns * step.std));
    CHECK(std::abs(mean - c[e]) < 5 * std::sqrt((length + c[e] * c[e]) / draws));
  }
}

TEMPLATE_TEST_CASE("what is drawn again does not depend on threads, instructions or the batch",
                   "[drawn_again]", float, bfloat16) {
  using tempflow::instruction_set;
  sibling_problem<TestType> given(cpu_backend(1), 40 * 1024 + 7, {2, 5, 0});
  given.draw(cpu_backend(1), true);
  const auto expected =
      loss_of<TestType>(cpu_backend(1, instruction_set::portable), given.drawn_again(), given);
  for (const auto instructions :
       {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
    for (const int threads : {1, 4}) {
      const auto found = loss_of<TestType>(cpu_backend(threads, instructions), given.drawn_again(), given);
      CHECK(support::same_bits(found.gradient, expected.gradient));
      CHECK(same_numbers(found.rows, expected.rows));
    }
  }
  auto second = given.drawn_again();  // the second state alone
  const std::vector<index_t> offsets{0, 5};
  const std::vector<tempflow::noise_id> ids(given.ids.begin() + 2, given.ids.end());
  const std::vector<double> weights(given.rows.weights.begin() + 2, given.rows.weights.end());
  second.offsets = offsets, second.transitions = given.steps[1], second.weights = weights,
  second.mean_over = 7;
  second.old_log_probs = second.old_log_probs.subspan(2), second.advantages = second.advantages.subspan(2);
  second.drawn = noise_source(support::test_key, ids, true);
  batch_buffer<TestType> alone(1, given.x.columns());
  tempflow::policy_loss(cpu_backend(1), second, given.v.view().slice(1, 1), given.v_ref.view().slice(1, 1),
                        objective, alone.view());
  CHECK(support::same_bits(alone.view(), expected.gradient.view().slice(1, 1)));
}

TEST_CASE("without a KL, what is drawn again asks the velocity for its extents alone", "[drawn_again]") {
  const clipped_grpo plain{.clip = objective.clip};
  const cpu_backend cpu(1);
  sibling_problem<float> given(cpu, 1030);
  const auto expected = loss_of<float>(cpu, given.drawn_again(), given, plain);
  given.v.view().row(0)[3] = std::numeric_limits<float>::quiet_NaN();
  const auto found = loss_of<float>(cpu, given.drawn_again(), given, plain);
  CHECK(support::same_bits(found.gradient, expected.gradient));
  CHECK(found.total.non_finite_rows == 0);
}

TEST_CASE("a KL that is not finite drops all that is drawn again from its state", "[drawn_again]") {
  const cpu_backend cpu(1);
  sibling_problem<float> given(cpu, 1030, {3, 4, 1});
  const auto before = loss_of<float>(cpu, given.drawn_again(), given);
  given.v.view().row(1)[3] = std::numeric_limits<float>::infinity();
  const auto after = loss_of<float>(cpu, given.drawn_again(), given);
  CHECK(after.total.non_finite_rows == 4);
  for (index_t s = 0; s < 3; ++s) {
    CHECK(after.is_zero(s) == (s == 1));
    if (s != 1)
      CHECK(support::same_bits(after.gradient.view().slice(s, 1), before.gradient.view().slice(s, 1)));
  }
}

TEST_CASE("a state that is drawn again and overflows fp16 is left out; the gradient may lie over v",
          "[drawn_again]") {
  const cpu_backend cpu(1);
  sibling_problem<float16> given(cpu, 1030, {3, 4, 1, 0});
  for (std::size_t i = 3; i < 7; ++i) given.rows.weights[i] = 1e12;
  const auto found = loss_of<float16>(cpu, given.drawn_again(), given);
  CHECK(found.total.non_finite_rows == 4);
  for (index_t s = 0; s < 4; ++s) CHECK(found.is_zero(s) == (s == 1 || s == 3));
  auto over = given.v;
  tempflow::policy_loss(cpu, given.drawn_again(), over.view(), given.v_ref, objective, over.view());
  CHECK(support::same_bits(over, found.gradient));
}

TEST_CASE("noise that does not fit the batch is an error", "[drawn_again]") {
  const cpu_backend cpu(1);
  const sibling_problem<float> given(cpu, 6, {2, 0, 3});
  auto gradient = support::random_batch<float>(3, 6, 8);
  const support::unchanged as_it_was(gradient);
  const auto rejects = [&](const tempflow::policy_batch<float>& batch, const std::string& expected) {
    support::check_throws<tempflow::shape_error>(
        [&] { tempflow::policy_loss(cpu, batch, given.v.view(), given.v_ref, objective, gradient.view()); },
        {expected});
    CHECK(as_it_was);
  };
  auto batch = given.drawn_again();
  batch.y = given.rows.y;
  rejects(batch, "policy_loss: both y and drawn are given");
  const auto fewer = support::mixed_ids(4);
  batch = given.drawn_again(), batch.drawn = noise_source(support::test_key, fewer);
  rejects(batch, "policy_loss: offsets end at 5, the batch has 4 rows");
  batch.offsets = {};
  rejects(batch, "policy_loss: ids has 4 entries, expected 3");
  batch.drawn = noise_source(support::test_key, tempflow::noise_id{});
  rejects(batch, "policy_loss: one noise id for 3 rows");
  batch = given.drawn_again(), batch.x = given.rows.x;
  rejects(batch, "policy_loss: x is 5 x 6, expected 3 x 6");
  std::vector<double> scored(5);
  support::check_throws<tempflow::shape_error>(
      [&] { tempflow::log_prob(cpu, given.drawn_again(), given.v.view(), scored); }, {"log_prob: "});
}
