// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Gradients in another type than the states, without a gradient, without a reference, and of batches of no
// rows.

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::clipped_grpo;
using tempflow::float16;
using tempflow::index_t;

namespace {

constexpr index_t rows = 5, columns = 37;
const clipped_grpo objective{.clip = {1e3, 1e3}, .kl_beta = 0.2};

template <class G, class T>
batch_buffer<G> gradient_in(const support::drawn_rows<T>& drawn) {
  batch_buffer<G> gradient(rows, columns);
  tempflow::policy_loss(tempflow::cpu_backend(1), drawn.batch(), drawn.v.view(), drawn.v_ref, objective,
                        gradient.view());
  return gradient;
}

}  // namespace

TEMPLATE_TEST_CASE("a gradient in another type is the same gradient, rounded once", "[gradient]", bfloat16,
                   float16) {
  const support::drawn_rows<TestType> drawn(tempflow::cpu_backend(1), rows, columns);
  const auto exact = gradient_in<float>(drawn);
  const auto narrow = gradient_in<TestType>(drawn);
  const auto wide = gradient_in<double>(drawn);
  int wrong = 0;
  for (index_t i = 0; i < rows * columns; ++i) {
    const float value = exact.view().data()[i];
    wrong += narrow.view().data()[i] == tempflow::store<TestType>(value) ? 0 : 1;
    wrong += wide.view().data()[i] == static_cast<double>(value) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("fp32 states may have 16-bit gradients", "[gradient]") {
  const support::drawn_rows<float> drawn(tempflow::cpu_backend(1), rows, columns);
  const auto exact = gradient_in<float>(drawn);
  const auto narrow = gradient_in<bfloat16>(drawn);
  int wrong = 0;
  for (index_t i = 0; i < rows * columns; ++i) {
    wrong += narrow.view().data()[i] == tempflow::store<bfloat16>(exact.view().data()[i]) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("without a gradient the loss is the same", "[gradient]") {
  const support::drawn_rows<float> drawn(tempflow::cpu_backend(1), rows, columns);
  batch_buffer<float> gradient(rows, columns);
  const tempflow::cpu_backend cpu(1);
  const auto with =
      tempflow::policy_loss(cpu, drawn.batch(), drawn.v.view(), drawn.v_ref, objective, gradient.view());
  const auto without =
      tempflow::policy_loss(cpu, drawn.batch(), drawn.v.view(), drawn.v_ref, objective, batch_view<float>());
  CHECK(with.loss == without.loss);
  CHECK(with.kl == without.kl);
}

TEST_CASE("a reference without a KL weight is reported and changes neither loss nor gradient", "[gradient]") {
  const support::drawn_rows<float> drawn(tempflow::cpu_backend(1), rows, columns);
  const tempflow::cpu_backend cpu(1);
  batch_buffer<float> with(rows, columns), without(rows, columns);
  const auto reported =
      tempflow::policy_loss(cpu, drawn.batch(), drawn.v.view(), drawn.v_ref, clipped_grpo{}, with.view());
  const auto plain =
      tempflow::policy_loss(cpu, drawn.batch(), drawn.v.view(), {}, clipped_grpo{}, without.view());
  CHECK(reported.kl > 0);
  CHECK(plain.kl == 0);
  CHECK(reported.loss == plain.loss);
  CHECK(support::values_of(with.view()) == support::values_of(without.view()));
}

TEST_CASE("a gradient may replace any of the batches it is made of", "[gradient]") {
  // 37 columns: a block of 32 and a rest.
  const tempflow::cpu_backend cpu(1);
  const support::drawn_rows<float> drawn(cpu, rows, columns);
  const auto apart = gradient_in<float>(drawn);
  for (const int which : {0, 1, 2, 3}) {
    auto mine = drawn;
    batch_buffer<float>* const batches[] = {&mine.x, &mine.y, &mine.v, &mine.v_ref};
    tempflow::policy_loss(cpu, mine.batch(), mine.v, mine.v_ref, objective, batches[which]->view());
    INFO("batch " << which);
    CHECK(support::same_bits(*batches[which], apart));
  }
}

TEST_CASE("a gradient that overlaps an input without being it is an error that names the input",
          "[gradient]") {
  const tempflow::cpu_backend cpu(1);
  const support::drawn_rows<float> drawn(cpu, rows, columns);
  std::vector<float> data(3 * rows * columns);
  const batch_view<float> v(data.data(), rows, columns);
  for (index_t i = 0; i < rows; ++i) std::copy_n(drawn.v.view().row(i), columns, v.row(i));
  const std::vector<float> before = data;
  const auto into = [&](batch_view<float> gradient) {
    CHECK_THROWS_MATCHES(tempflow::policy_loss(cpu, drawn.batch(), v, drawn.v_ref, objective, gradient),
                         tempflow::shape_error,
                         MessageMatches(ContainsSubstring("gradient shares memory with v")));
    CHECK(data == before);
  };
  into({data.data() + 1, rows, columns});
  into({data.data() + columns, rows, columns});
  into({data.data(), rows, columns, columns + 1});
}

TEST_CASE("a KL weight without a reference is an error that names the weight", "[gradient]") {
  const support::drawn_rows<float> drawn(tempflow::cpu_backend(1), rows, columns);
  CHECK_THROWS_MATCHES(tempflow::policy_loss(tempflow::cpu_backend(1), drawn.batch(), drawn.v.view(), {},
                                             objective, batch_view<float>()),
                       tempflow::shape_error,
                       MessageMatches(ContainsSubstring("kl_beta = 0.2") && ContainsSubstring("v_ref")));
}

TEST_CASE("a batch of no rows has no loss", "[gradient]") {
  const tempflow::policy_batch<float> nothing{
      .x = {}, .y = {}, .transitions = tempflow::transition{.std = 1}, .old_log_probs = {}, .advantages = {}};
  const auto total = tempflow::policy_loss(tempflow::cpu_backend(1), nothing, batch_view<const float>(), {},
                                           objective, batch_view<float>());
  CHECK(total.rows == 0);
  CHECK(total.loss == 0);
}

TEST_CASE("an objective of the user's own needs no kernel", "[gradient]") {
  struct plain_policy_gradient {
    double kl_beta = 0;
    tempflow::kl_denominator kl_over = tempflow::kl_denominator::unit;
    tempflow::surrogate operator()(double log_ratio, double advantage, double weight) const {
      return {.loss = -weight * advantage * log_ratio, .slope = -weight * advantage};
    }
    void validate() const {}
  };
  STATIC_REQUIRE(tempflow::policy_objective<plain_policy_gradient>);
  const support::drawn_rows<float> drawn(tempflow::cpu_backend(1), rows, columns);
  const tempflow::cpu_backend cpu(1);
  batch_buffer<float> own(rows, columns), clipped(rows, columns);
  tempflow::policy_loss(cpu, drawn.batch(), drawn.v.view(), {}, plain_policy_gradient{}, own.view());
  tempflow::policy_loss(cpu, drawn.batch(), drawn.v.view(), {}, clipped_grpo{}, clipped.view());
  CHECK(support::same_bits(own, clipped));  // on policy both slopes are -w A
}
