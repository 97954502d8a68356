// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Parts of rows on a device: the noise of the whole rows, wherever slices begin, and the bits of the cpu backend.

#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "support/sibling_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/parts.hpp"

using support::placed;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::noise_source;

namespace {

constexpr index_t rows = 3, columns = 2051;

// Sums alone, whose bits are the same everywhere; logarithms are a device's own.
constexpr tempflow::log_prob_convention sums{.terms = tempflow::log_prob_terms::squared_error};

}  // namespace

TEMPLATE_TEST_CASE("shards of rows on a device have the noise of the whole rows", "[device][noise][parts]",
                   float, double, bfloat16, float16) {
  const auto backend = support::make_test_device();
  const cpu_backend cpu(1);
  const auto ids = support::mixed_ids(rows);
  const auto steps = support::mixed_transitions(rows);
  const auto x = support::random_batch<TestType>(rows, columns, 1),
             v = support::random_batch<TestType>(rows, columns, 2);
  placed<TestType, support::test_device> at_x(backend, x), at_v(backend, v), z(backend, rows, columns),
      y(backend, rows, columns), branches(backend, rows * 2, columns);
  for (const index_t offset : {index_t{0}, index_t{12}, (index_t{1} << 34) - columns - 1}) {
    for (const bool antithetic : {false, true}) {
      const noise_source noise(support::test_key, ids, antithetic, offset);
      batch_buffer<TestType> whole(rows, columns), drawn(rows, columns), fan(rows * 2, columns);
      std::vector<double> scores(rows * 2), unused(rows * 2);
      tempflow::fill_noise(cpu, noise, whole);
      tempflow::step(cpu, x, v, steps, noise, drawn, {});
      tempflow::branch_step(cpu, x, v, {}, steps, noise, {}, fan.view(), scores, sums);
      // From a byte boundary of 16 on, and from others.
      for (const auto [first, count] :
           std::vector<tempflow::sample_part>{{0, 1028}, {1028, 1000}, {2028, columns - 2028}}) {
        const auto part = noise.part_from(first);
        tempflow::fill_noise(backend, part, z.view().columns(first, count));
        tempflow::step(backend, at_x.view().columns(first, count), at_v.view().columns(first, count), steps,
                       part, y.view().columns(first, count), {});
        tempflow::branch_step(backend, at_x.view().columns(first, count), at_v.view().columns(first, count),
                              {}, steps, part, {}, branches.view().columns(first, count), unused, sums);
      }
      CHECK(support::same_bits(z.values(), whole));
      CHECK(support::same_bits(y.values(), drawn));
      CHECK(support::same_bits(branches.values(), fan));
    }
  }
}

TEMPLATE_TEST_CASE("parts on a device have the bits of the cpu backend", "[device][parts]",
                   (std::pair<float, float>), (std::pair<double, double>), (std::pair<bfloat16, bfloat16>),
                   (std::pair<float, bfloat16>)) {
  using T = typename TestType::first_type;
  using V = typename TestType::second_type;
  const auto backend = support::make_test_device();
  const auto ids = support::mixed_ids(rows);
  const auto steps = support::mixed_transitions(rows);
  const auto x = support::random_batch<T>(rows, columns, 1);
  const auto v = support::random_batch<V>(rows, columns, 2);
  placed<T, support::test_device> at_x(backend, x), y(backend, rows, columns);
  placed<V, support::test_device> at_v(backend, v);
  batch_buffer<T> expected = y.values();
  const tempflow::sample_parts parts({{0, 12}, {12, 1024}, {1040, columns - 1040}}, columns);
  const std::vector<tempflow::per_row<tempflow::transition>> by{steps, steps[0], steps};
  std::vector<double> found(3 * rows, 77.0), scores(3 * rows, 78.0), scored(3 * rows, 79.0);
  const noise_source noise(support::test_key, ids, false, 4);
  tempflow::step_parts(backend, at_x.view(), at_v.view(), parts, by, noise, y.view(), found, sums);
  tempflow::step_parts(cpu_backend(1), x, v, parts, by, noise, expected, scores, sums);
  CHECK(support::same_bits(y.values(), expected));
  CHECK(support::same_bits(found, scores));
  tempflow::log_prob_parts(backend, at_x.view(), at_v.view(), y.view(), parts, by, scored, sums);
  CHECK(support::same_bits(found, scored));
  CHECK(y.sentinels_stand());
}

TEST_CASE("a loss drawn again for parts on a device has the gradient of the cpu backend",
          "[device][noise][parts]") {
  const auto backend = support::make_test_device();
  support::sibling_problem<float> given(cpu_backend(1), columns);
  given.draw(cpu_backend(1), true);
  const tempflow::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.1};
  placed<float, support::test_device> v(backend, given.v), v_ref(backend, given.v_ref),
      gradient(backend, given.states(), columns);
  batch_buffer<float> expected(given.states(), columns);
  for (const auto [first, count] :
       std::vector<tempflow::sample_part>{{0, 1028}, {1028, 1000}, {2028, columns - 2028}}) {
    auto batch = given.drawn_again();
    batch.drawn = batch.drawn->part_from(first);
    tempflow::policy_loss(backend, batch, v.view().columns(first, count), v_ref.view().columns(first, count),
                          objective, gradient.view().columns(first, count));
    tempflow::policy_loss(cpu_backend(1), batch, given.v.view().columns(first, count),
                          given.v_ref.view().columns(first, count), objective,
                          expected.view().columns(first, count));
  }
  CHECK(support::same_bits(gradient.values(), expected));
}
