// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Masks of elements on a device: the bits of the cpu backend, wherever rows and masks begin.

#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/masks.hpp"
#include "support/outputs.hpp"
#include "support/placed_mask.hpp"
#include "support/policy_problem.hpp"
#include "support/sibling_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"

using support::layout;
using support::mask_bytes;
using support::placed;
using support::placed_mask;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::element_mask;
using tempflow::float16;
using tempflow::index_t;

namespace {

// Sums alone, whose bits are the same everywhere; logarithms are a device's own.
constexpr tempflow::log_prob_convention sums{.terms = tempflow::log_prob_terms::squared_error};

template <class T, class V = T>
void check_scores(index_t rows, index_t columns, layout batches, layout masks, index_t mask_rows) {
  INFO(rows << " x " << columns << ", offset " << batches.offset << ", mask's " << masks.offset);
  const auto backend = support::make_test_device();
  const auto steps = support::mixed_transitions(rows);
  const mask_bytes mask(mask_rows, columns, 4);
  const auto x = support::poisoned(support::random_batch<T>(rows, columns, 1), mask),
             y = support::poisoned(support::random_batch<T>(rows, columns, 2), mask);
  const auto v = support::poisoned(support::random_batch<V>(rows, columns, 3), mask);
  std::vector<double> found(static_cast<std::size_t>(rows), 77.0), expected = found, full = found,
                                                                   near = found;
  placed<T, support::test_device> at_x(backend, x, batches), at_y(backend, y, batches);
  placed<V, support::test_device> at_v(backend, v, batches);
  placed_mask at_mask(backend, mask, masks);
  tempflow::log_prob(backend, at_x.view(), at_v.view(), at_y.view(), steps, found, sums, at_mask);
  tempflow::log_prob(cpu_backend(1), x, v, y, steps, expected, sums, mask);
  CHECK(support::same_bits(found, expected));
  tempflow::log_prob(backend, at_x.view(), at_v.view(), at_y.view(), steps, full, {}, at_mask);
  tempflow::log_prob(cpu_backend(1), x, v, y, steps, near, {}, mask);
  for (std::size_t i = 0; i < full.size(); ++i) CHECK(full[i] == Catch::Approx(near[i]).epsilon(1e-14));
}

}  // namespace

TEMPLATE_TEST_CASE("masked log-probs of a device have the bits of the cpu backend", "[device][mask]",
                   (std::pair<float, float>), (std::pair<double, double>), (std::pair<bfloat16, bfloat16>),
                   (std::pair<float16, float16>), (std::pair<float, bfloat16>),
                   (std::pair<bfloat16, float>)) {
  using T = typename TestType::first_type;
  using V = typename TestType::second_type;
  for (const index_t columns : {1, 33, 1024, 4099, 8192}) {
    check_scores<T, V>(3, columns, {}, {}, 3);
    check_scores<T, V>(3, columns, {}, {}, 1);
  }
  for (const layout shape : {layout{1, 0}, layout{2, 0}, layout{4, 4}, layout{8, 8}, layout{0, 3}}) {
    check_scores<T, V>(3, 2048, {}, shape, 3);
    check_scores<T, V>(2, 2048, shape, {}, 2);
    check_scores<T, V>(2, 2049, shape, shape, 1);
  }
}

TEST_CASE("masks of a device may be many, or long", "[device][mask]") {
  check_scores<float>(700, 5, {}, {}, 700);
  check_scores<float>(2, 150000, {}, {}, 1);
}

TEST_CASE("siblings of a device share the mask of their state", "[device][mask]") {
  const auto backend = support::make_test_device();
  const support::sibling_problem<float> given(cpu_backend(1), 2051, {3, 1, 0, 2},
                                              {.terms = tempflow::log_prob_terms::squared_error});
  placed<float, support::test_device> x(backend, given.x), v(backend, given.v), y(backend, given.rows.y);
  std::vector<double> found(static_cast<std::size_t>(given.total()), 77.0), expected = found;
  for (const index_t rows : {given.states(), index_t{1}}) {
    const mask_bytes mask(rows, 2051, 5);
    placed_mask at(backend, mask);
    auto batch = given.batch();
    batch.mask = mask;
    tempflow::log_prob(cpu_backend(1), batch, given.v, expected);
    batch.x = x.view(), batch.y = y.view(), batch.mask = at;
    tempflow::log_prob(backend, batch, v.view(), found);
    CHECK(support::same_bits(found, expected));
  }
}

TEST_CASE("a mask of a device that leaves nothing out gives the bits of none", "[device][mask]") {
  const auto backend = support::make_test_device();
  const auto steps = support::mixed_transitions(3);
  placed<float, support::test_device> x(backend, support::random_batch<float>(3, 4099, 1)),
      y(backend, support::random_batch<float>(3, 4099, 2)),
      v(backend, support::random_batch<float>(3, 4099, 3));
  mask_bytes mask(3, 4099, 6);
  for (index_t i = 0; i < 3; ++i) {
    for (index_t e = 0; e < 4099; ++e) mask.at(i, e) = 2;
  }
  placed_mask at(backend, mask);
  std::vector<double> found(3, 77.0), expected(3, 78.0);
  tempflow::log_prob(backend, x.view(), v.view(), y.view(), steps, found, {}, at);
  tempflow::log_prob(backend, x.view(), v.view(), y.view(), steps, expected);
  CHECK(support::same_bits(found, expected));
}

TEST_CASE("a device does not look at a mask: the mean over no element is NaN", "[device][mask]") {
  const auto backend = support::make_test_device();
  const auto steps = support::mixed_transitions(2);
  placed<float, support::test_device> x(backend, support::random_batch<float>(2, 40, 1)),
      y(backend, support::random_batch<float>(2, 40, 2)), v(backend, support::random_batch<float>(2, 40, 3));
  mask_bytes mask(2, 40, 6);
  for (index_t e = 0; e < 40; ++e) mask.at(0, e) = 0;
  placed_mask at(backend, mask);
  std::vector<double> found(2, 77.0);
  tempflow::log_prob(backend, x.view(), v.view(), y.view(), steps, found, {}, at);
  CHECK(std::isnan(found[0]));
  CHECK(std::isfinite(found[1]));
}

TEMPLATE_TEST_CASE("masked steps of a device have the bits of the cpu backend", "[device][mask]",
                   (std::pair<float, float>), (std::pair<double, double>), (std::pair<bfloat16, bfloat16>),
                   (std::pair<float16, float16>), (std::pair<float, bfloat16>)) {
  using T = typename TestType::first_type;
  using V = typename TestType::second_type;
  constexpr index_t rows = 3, explorations = 3;
  const auto steps = support::mixed_transitions(rows);
  const auto ids = support::mixed_ids(rows);
  const auto backend = support::make_test_device();
  const cpu_backend cpu(1);
  for (const index_t columns : {1, 33, 1024, 2051}) {
    for (const index_t mask_rows : {rows, index_t{1}}) {
      const mask_bytes mask(mask_rows, columns, 4);
      const auto x = support::poisoned(support::random_batch<T>(rows, columns, 1), mask);
      const auto v = support::poisoned(support::random_batch<V>(rows, columns, 2), mask);
      const layout shape{columns % 4, columns % 3};
      placed<T, support::test_device> at_x(backend, x, shape), y(backend, rows, columns, shape),
          mean(backend, rows, columns, shape), branches(backend, rows * explorations, columns, shape);
      placed<V, support::test_device> at_v(backend, v, shape);
      placed_mask at(backend, mask, shape);
      batch_buffer<T> expected(rows, columns), fan(rows * explorations, columns);
      std::vector<double> found(rows, 77.0), scores(rows, 78.0), found_fan(rows * explorations, 77.0),
          fan_scores(rows * explorations, 78.0);
      const tempflow::noise_source noise(support::test_key, ids, true, 12);
      tempflow::step(backend, at_x.view(), at_v.view(), steps, noise, y.view(), found, sums, at);
      tempflow::step(cpu, x, v, steps, noise, expected, scores, sums, mask);
      CHECK(support::same_bits(y.values(), expected));
      CHECK(support::same_bits(found, scores));
      tempflow::branch_step(backend, at_x.view(), at_v.view(), steps, steps, noise, y.view(), branches.view(),
                            found_fan, sums, at);
      tempflow::branch_step(cpu, x, v, steps, steps, noise, expected, fan, fan_scores, sums, mask);
      CHECK(support::same_bits(y.values(), expected));
      CHECK(support::same_bits(branches.values(), fan));
      CHECK(support::same_bits(found_fan, fan_scores));
      tempflow::ode_step(backend, at_x.view(), at_v.view(), steps, mean.view(), at);
      CHECK(support::same_bits(mean.values(), expected));
      CHECK((y.sentinels_stand() && mean.sentinels_stand() && branches.sentinels_stand()));
    }
  }
}

TEST_CASE("a mask of a device in host memory is an error", "[device][mask]") {
  const auto backend = support::make_test_device();
  const auto steps = support::mixed_transitions(2);
  placed<float, support::test_device> x(backend, 2, 40), y(backend, 2, 40), v(backend, 2, 40);
  const mask_bytes mask(2, 40, 6);
  std::vector<double> found(2, 77.0);
  support::check_throws<tempflow::memory_error>(
      [&] { tempflow::log_prob(backend, x.view(), v.view(), y.view(), steps, found, {}, mask); },
      {"log_prob: mask lies in host memory"});
  const auto ids = support::mixed_ids(2);
  support::check_throws<tempflow::memory_error>(
      [&] {
        tempflow::step(backend, x.view(), v.view(), steps, {support::test_key, ids}, y.view(), found, {},
                       mask);
      },
      {"step: mask lies in host memory"});
  support::check_throws<tempflow::memory_error>(
      [&] { tempflow::ode_step(backend, x.view(), v.view(), steps, y.view(), mask); },
      {"ode_step: mask lies in host memory"});
  CHECK((found[0] == 77 && found[1] == 77));
  const auto untouched = y.values();
  for (const double value : support::values_of(untouched.view())) CHECK(value == -77);
}

#if !defined(__CUDACC__)

TEST_CASE("log-probs of a masked step that is captured cannot be the host's", "[device][mask]") {
  const auto backend = support::make_test_device();
  const auto steps = support::mixed_transitions(2);
  const auto ids = support::mixed_ids(2);
  placed<float, support::test_device> x(backend, 2, 40), y(backend, 2, 40), v(backend, 2, 40);
  const mask_bytes mask(2, 40, 6);
  placed_mask at(backend, mask);
  std::vector<double> found(2, 77.0);
  const int launches = backend.device().launches();
  backend.device().capture(true);
  support::check_throws<tempflow::memory_error>(
      [&] {
        tempflow::step(backend, x.view(), v.view(), steps, {support::test_key, ids}, y.view(), found, {}, at);
      },
      {"step: log_probs lies in host memory, which cannot be waited for"});
  support::check_throws<tempflow::memory_error>(
      [&] {
        tempflow::branch_step(backend, x.view(), v.view(), {}, steps, {support::test_key, ids}, {}, y.view(),
                              found, {}, at);
      },
      {"branch_step: log_probs lies in host memory, which cannot be waited for"});
  backend.device().capture(false);
  CHECK(backend.device().launches() == launches);
}

TEST_CASE("the workspace of as many explorations is enough for masked ones", "[device][mask]") {
  constexpr index_t rows = 5, columns = 3, explorations = 200;
  const auto owner = support::make_test_device();
  const std::size_t bytes = tempflow::device_workspace_bytes(rows, columns, explorations);
  auto memory = owner.make_buffer<double>(1, static_cast<index_t>(bytes / sizeof(double)) + 1);
  const support::test_device backend(owner.device(),
                                     std::span(reinterpret_cast<std::byte*>(memory.view().data()), bytes));
  const auto steps = support::mixed_transitions(rows);
  const auto ids = support::mixed_ids(rows);
  placed<float, support::test_device> x(backend, rows, columns), v(backend, rows, columns),
      branches(backend, rows * explorations, columns);
  placed_mask at(backend, mask_bytes(rows, columns, 6));
  std::vector<double> found(rows * explorations);
  CHECK_NOTHROW(tempflow::branch_step(backend, x.view(), v.view(), {}, steps, {support::test_key, ids}, {},
                                      branches.view(), found, {}, at));
  CHECK(owner.device().guards_stand());
}

#endif
