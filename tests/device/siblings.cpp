// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Transitions that leave one state, on a device: with the contracts of the cpu backend, and its bits.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/outputs.hpp"
#include "support/sibling_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"

using support::layout;
using support::placed;
using support::sibling_problem;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::clipped_grpo;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::policy_row;

namespace {

const clipped_grpo objective{.clip = {1e-3, 2e-3}, .kl_beta = 0.2};

template <class G>
struct outcome {
  batch_buffer<G> gradient;
  std::vector<policy_row> rows;
  std::vector<double> log_probs;
  tempflow::policy_statistics total;
};

template <class G, class T, class B>
outcome<G> loss_of(const B& backend, const sibling_problem<T>& given, const clipped_grpo& with = objective,
                   layout shape = {}) {
  const auto rows = static_cast<std::size_t>(given.total());
  placed<T, B> x(backend, given.x, shape), v(backend, given.v, shape), v_ref(backend, given.v_ref, shape),
      y(backend, given.rows.y, shape);
  placed<G, B> gradient(backend, given.states(), given.x.columns(), shape);
  auto batch = given.batch();
  batch.x = x.view(), batch.y = y.view();
  outcome<G> out{.gradient = {},
                 .rows = std::vector<policy_row>(rows),
                 .log_probs = std::vector<double>(rows),
                 .total = {}};
  out.total =
      with.kl_beta > 0
          ? tempflow::policy_loss(backend, batch, v, v_ref, with, gradient.view(), std::span(out.rows))
          : tempflow::policy_loss(backend, batch, v, {}, with, gradient.view(), std::span(out.rows));
  batch.convention = tempflow::log_prob_convention{
      .terms = tempflow::log_prob_terms::squared_error};  // logarithms are a device's own
  tempflow::log_prob(backend, batch, v, out.log_probs);
  out.gradient = gradient.values();
  CHECK((gradient.sentinels_stand() && x.sentinels_stand() && y.sentinels_stand()));
  return out;
}

template <class G, class T>
void check_same(const sibling_problem<T>& given, const clipped_grpo& with = objective, layout shape = {}) {
  INFO(given.x.columns() << " columns, offset " << shape.offset << ", padding " << shape.padding);
  const auto device = loss_of<G>(support::make_test_device(), given, with, shape),
             expected = loss_of<G>(cpu_backend(1), given, with);
  CHECK(support::same_bits(device.log_probs, expected.log_probs));
  if (support::emulated) {
    CHECK(support::same_bits(device.gradient, expected.gradient));
  } else {  // exponentials of its own, an ulp or two in double, may move a slope in fp32 by its last place
    const auto found = support::values_of(device.gradient.view()),
               near = support::values_of(expected.gradient.view());
    double largest = 0;
    for (const double g : near) largest = std::max(largest, std::abs(g));
    CHECK(support::largest_difference(found, near) <= (sizeof(G) == 2 ? 0x1p-7 : 0x1p-21) * largest);
  }
  for (std::size_t i = 0; i < device.rows.size(); ++i) {
    const auto &a = device.rows[i], &b = expected.rows[i];
    CHECK((a.below == b.below && a.above == b.above && a.finite == b.finite));
    CHECK(a.log_ratio == Catch::Approx(b.log_ratio).margin(1e-14));
    CHECK(a.kl == Catch::Approx(b.kl).epsilon(1e-14));
  }
  CHECK(device.total.loss == Catch::Approx(expected.total.loss).epsilon(1e-14));
}

}  // namespace

TEMPLATE_TEST_CASE("siblings on a device have the bits of the cpu backend", "[device][siblings]", float,
                   double, bfloat16, float16) {
  for (const index_t columns : {1, 33, 1024, 4099, 10000}) {
    sibling_problem<TestType> given(cpu_backend(1), columns);
    check_same<TestType>(given);
    check_same<TestType>(given, {.kl_beta = 0});
    given.leave_policy();
    check_same<TestType>(given);
    check_same<TestType>(given, {.clip = objective.clip, .kl_beta = 0});
  }
}

TEST_CASE("siblings of a device may begin anywhere, and have gradients of another type",
          "[device][siblings]") {
  for (const layout shape : {layout{1, 0}, layout{0, 1}, layout{3, 5}, layout{8, 8}, layout{4, 0}}) {
    check_same<float>(sibling_problem<float>(cpu_backend(1), 2048), objective, shape);
    check_same<bfloat16>(sibling_problem<bfloat16>(cpu_backend(1), 2049), objective, shape);
    check_same<double>(sibling_problem<double>(cpu_backend(1), 1024), objective, shape);
  }
  check_same<float>(sibling_problem<bfloat16>(cpu_backend(1), 2048));
  check_same<float>(sibling_problem<float16>(cpu_backend(1), 2048));
}

TEST_CASE("siblings of a device may be more than its kernels' parameters hold", "[device][siblings]") {
  std::vector<index_t> counts;
  for (index_t s = 0; s < 150; ++s) counts.push_back(s % 7);
  check_same<float>(sibling_problem<float>(cpu_backend(1), 5, counts));
  check_same<float>(sibling_problem<float>(cpu_backend(1), 70000, {2, 3}));
}

TEMPLATE_TEST_CASE("on policy, the ratio of a device's siblings is exactly 1", "[device][siblings]", float,
                   double, bfloat16, float16) {
  const auto backend = support::make_test_device();
  sibling_problem<TestType> given(cpu_backend(1), 4099);
  placed<TestType, support::test_device> x(backend, given.x), v(backend, given.v), y(backend, given.rows.y);
  auto batch = given.batch();
  batch.x = x.view(), batch.y = y.view();
  std::vector<double> scored(static_cast<std::size_t>(given.total()));
  tempflow::log_prob(backend, batch, v, scored);
  batch.old_log_probs = scored;
  const auto total =
      tempflow::policy_loss(backend, batch, v, {}, clipped_grpo{}, tempflow::batch_view<TestType>());
  CHECK((total.max_abs_log_ratio == 0 && total.ratio_min == 1 && total.ratio_max == 1));
}

TEMPLATE_TEST_CASE("a broken sibling of a device is left out", "[device][siblings]", float, bfloat16,
                   float16) {
  for (const index_t columns : {37, 3000}) {
    sibling_problem<TestType> given(cpu_backend(1), columns);
    const auto broken = tempflow::store<TestType>(std::numeric_limits<float>::infinity());
    given.rows.y.view().row(0)[columns / 2] = broken;  // the first of its state
    given.rows.y.view().row(6)[columns - 1] = broken;
    given.rows.y.view().row(12)[0] = broken;  // the only one
    const auto device = loss_of<TestType>(support::make_test_device(), given),
               expected = loss_of<TestType>(cpu_backend(1), given);
    CHECK((device.total.non_finite_rows == 3 && expected.total.non_finite_rows == 3));
    if (support::emulated) CHECK(support::same_bits(device.gradient, expected.gradient));
    for (std::size_t i = 0; i < device.rows.size(); ++i)
      CHECK(device.rows[i].finite == expected.rows[i].finite);
  }
}

TEST_CASE("a state of a device whose fp16 gradient overflows is left out with all its rows",
          "[device][siblings]") {
  for (const index_t columns : {37, 3000}) {
    sibling_problem<float16> given(cpu_backend(1), columns);
    for (std::size_t i = 4; i < 10; ++i) given.rows.weights[i] = 1e12;  // of the fourth state
    const auto device = loss_of<float16>(support::make_test_device(), given),
               expected = loss_of<float16>(cpu_backend(1), given);
    CHECK((device.total.non_finite_rows == 6 && expected.total.non_finite_rows == 6));
    if (support::emulated) CHECK(support::same_bits(device.gradient, expected.gradient));
  }
}

TEST_CASE("the gradient of a device's siblings may replace x, v or v_ref", "[device][siblings]") {
  const auto backend = support::make_test_device();
  const sibling_problem<float> given(cpu_backend(1), 3000);
  const auto apart = loss_of<float>(backend, given);
  for (const int which : {0, 1, 2}) {
    placed<float, support::test_device> x(backend, given.x), v(backend, given.v), v_ref(backend, given.v_ref),
        y(backend, given.rows.y);
    placed<float, support::test_device>* const batches[] = {&x, &v, &v_ref};
    auto batch = given.batch();
    batch.x = x.view(), batch.y = y.view();
    tempflow::policy_loss(backend, batch, v, v_ref, objective, batches[which]->view());
    INFO("batch " << which);
    CHECK(support::same_bits(batches[which]->values(), apart.gradient));
  }
}

TEST_CASE("states of a device that no transition leaves have gradients of zeros", "[device][siblings]") {
  const auto found =
      loss_of<float16>(support::make_test_device(), sibling_problem<float16>(cpu_backend(1), 37, {0, 0}));
  for (const double g : support::values_of(found.gradient.view())) CHECK(g == 0);
}

TEST_CASE("offsets in device memory are an error", "[device][siblings]") {
  const auto backend = support::make_test_device();
  const sibling_problem<float> given(cpu_backend(1), 8, {2, 1});
  placed<float, support::test_device> x(backend, given.x), v(backend, given.v), y(backend, given.rows.y),
      gradient(backend, 2, 8);
  placed<double, support::test_device> elsewhere(backend, 1, 3);
  auto batch = given.batch();
  batch.x = x.view(), batch.y = y.view();
  batch.offsets = {reinterpret_cast<const index_t*>(elsewhere.view().data()), 3};
  std::vector<double> scored(3);
  support::check_throws<tempflow::memory_error>(
      [&] { tempflow::policy_loss(backend, batch, v, {}, clipped_grpo{}, gradient.view()); },
      {"policy_loss: the host reads offsets, which lie in device memory"});
  support::check_throws<tempflow::memory_error>([&] { tempflow::log_prob(backend, batch, v, scored); },
                                                {"log_prob: the host reads offsets"});
}

#if !defined(__CUDACC__)

TEST_CASE("a workspace for the rows, or the states where these are more, is enough for siblings",
          "[device][siblings]") {
  const auto check = [](const std::vector<index_t>& counts) {
    const sibling_problem<float16> given(cpu_backend(1), 5, counts);
    const auto owner = support::make_test_device();
    const std::size_t bytes = tempflow::device_workspace_bytes(std::max(given.total(), given.states()), 5);
    auto memory = owner.make_buffer<double>(1, static_cast<index_t>(bytes / sizeof(double)) + 1);
    auto* const start = reinterpret_cast<std::byte*>(memory.view().data());
    const support::test_device backend(owner.device(), std::span(start, bytes));
    CHECK_NOTHROW(loss_of<float16>(backend, given));
    placed<float16, support::test_device> v(backend, given.v), v_ref(backend, given.v_ref),
        gradient(backend, given.states(), 5);
    CHECK_NOTHROW(
        tempflow::policy_loss(backend, given.drawn_again(), v.view(), v_ref, objective, gradient.view()));
    CHECK(owner.device().guards_stand());
  };
  std::vector<index_t> many;
  for (index_t s = 0; s < 150; ++s) many.push_back(s % 7);
  check(many);
  check(std::vector<index_t>(400, 0));
}

TEST_CASE("a loss of siblings does not depend on the order of threads", "[device][siblings]") {
  sibling_problem<float16> given(cpu_backend(1), 2500, {3, 1, 0, 2});
  for (std::size_t i = 0; i < 3; ++i) given.rows.weights[i] = 1e12;  // the first overflows
  const auto expected = loss_of<float16>(cpu_backend(1), given);
  for (unsigned seed = 1; seed <= 4; ++seed) {
    INFO("seed " << seed);
    CHECK(support::same_bits(loss_of<float16>(support::make_test_device(16, seed), given).gradient,
                             expected.gradient));
  }
}

#endif
