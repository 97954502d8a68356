// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Every operation on a device against the cpu backend: the same bits, whatever the extents and wherever rows
// begin; and nothing but the results is written.

#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/ema_update.hpp"
#include "tempflow/ops/fill_noise.hpp"

using support::layout;
using support::placed;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::float16;
using tempflow::index_t;
using tempflow::policy_row;

namespace {

constexpr index_t explorations = 3;

// Sums alone, whose bits are the same everywhere; logarithms are a device's own.
constexpr tempflow::log_prob_convention sums{.terms = tempflow::log_prob_terms::squared_error};

// T: of states. V: of velocities and gradients.
template <class T, class V>
struct results {
  batch_buffer<T> noise, mean, y, trunk, branches;
  batch_buffer<V> gradient, without_reference;
  std::vector<double> drawn, branched, scored, full;
  std::vector<policy_row> rows;
  bool sentinels = true;
};

template <class T, class V, class B>
results<T, V> compute_all(const B& backend, index_t rows, index_t columns, layout shape) {
  const auto steps = support::mixed_transitions(rows);
  const auto ids = support::mixed_ids(rows);
  placed<T, B> x(backend, support::random_batch<T>(rows, columns, 1), shape);
  placed<V, B> v(backend, support::random_batch<V>(rows, columns, 2), shape),
      v_ref(backend, support::random_batch<V>(rows, columns, 3), shape);
  placed<T, B> noise(backend, rows, columns, shape), mean(backend, rows, columns, shape),
      y(backend, rows, columns, shape), trunk(backend, rows, columns, shape),
      branches(backend, rows * explorations, columns, shape);
  placed<V, B> gradient(backend, rows, columns, shape), without(backend, rows, columns, shape);
  results<T, V> out;
  out.drawn.resize(rows), out.branched.resize(rows * explorations), out.scored.resize(rows),
      out.full.resize(rows);
  out.rows.resize(rows);
  const auto from = [](auto& batch) { return tempflow::detail::as_input(batch.view()); };
  tempflow::fill_noise(backend, {support::test_key, ids}, noise.view());
  tempflow::ode_step(backend, from(x), from(v), steps, mean.view());
  tempflow::step(backend, from(x), from(v), steps, {support::test_key, ids}, y.view(), out.drawn, sums);
  tempflow::branch_step(backend, from(x), from(v), steps, steps, {support::test_key, ids}, trunk.view(),
                        branches.view(), out.branched, sums);
  tempflow::log_prob(backend, from(x), from(v), from(y), steps, out.scored, sums);
  tempflow::log_prob(backend, from(x), from(v), from(y), steps, out.full);
  const auto advantages = support::numbers(5).take(rows);
  const tempflow::policy_batch<T> batch{.x = x.view(),
                                        .y = y.view(),
                                        .transitions = steps,
                                        .old_log_probs = out.scored,
                                        .advantages = advantages,
                                        .weights = 1.25,
                                        .convention = sums,
                                        .mean_over = 7};
  const tempflow::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.1};
  tempflow::policy_loss_rows(backend, batch, from(v), from(v_ref), objective, gradient.view(),
                             std::span(out.rows));
  tempflow::policy_loss_rows(backend, batch, from(v), {}, tempflow::clipped_grpo{}, without.view(),
                             std::span(out.rows));
  tempflow::policy_loss_rows(backend, batch, from(v), from(v_ref), objective, tempflow::batch_view<V>(),
                             std::span(out.rows));
  out.noise = noise.values(), out.mean = mean.values(), out.y = y.values(), out.trunk = trunk.values();
  out.branches = branches.values(), out.gradient = gradient.values(),
  out.without_reference = without.values();
  for (auto* batch_of : {&x, &noise, &mean, &y, &trunk, &branches})
    out.sentinels = out.sentinels && batch_of->sentinels_stand();
  for (auto* batch_of : {&v, &v_ref, &gradient, &without})
    out.sentinels = out.sentinels && batch_of->sentinels_stand();
  return out;
}

// Within 4 ulp of a double of this size.
bool near(double a, double b) { return std::abs(a - b) <= 4 * 0x1p-53 * std::max(1.0, std::abs(a)); }

template <class T, class V = T>
void check_same(index_t rows, index_t columns, layout shape) {
  INFO(rows << " x " << columns << ", offset " << shape.offset << ", padding " << shape.padding);
  const auto device = compute_all<T, V>(support::make_test_device(), rows, columns, shape);
  const auto expected = compute_all<T, V>(tempflow::cpu_backend(1), rows, columns, shape);
  CHECK(support::same_bits(device.noise, expected.noise));
  CHECK(support::same_bits(device.mean, expected.mean));
  CHECK(support::same_bits(device.y, expected.y));
  CHECK(support::same_bits(device.trunk, expected.trunk));
  CHECK(support::same_bits(device.branches, expected.branches));
  CHECK(support::same_bits(device.gradient, expected.gradient));
  CHECK(support::same_bits(device.without_reference, expected.without_reference));
  CHECK(support::same_bits(device.drawn, expected.drawn));
  CHECK(support::same_bits(device.branched, expected.branched));
  CHECK(support::same_bits(device.scored, expected.scored));
  CHECK(support::same_bits(device.scored, device.drawn));
  for (index_t i = 0; i < rows; ++i) {
    const auto &a = device.rows[i], &b = expected.rows[i];
    CHECK(near(device.full[i], expected.full[i]));
    CHECK((near(a.log_prob, b.log_prob) && near(a.ratio, b.ratio) && near(a.surrogate, b.surrogate)));
    CHECK((near(a.kl, b.kl) && a.below == b.below && a.above == b.above && a.finite && b.finite));
    CHECK(a.log_ratio == 0);
  }
  CHECK(device.sentinels);
}

}  // namespace

TEMPLATE_TEST_CASE("a device computes the bits of the cpu backend", "[device]", float, double, bfloat16,
                   float16) {
  for (const index_t columns : {1, 31, 32, 33, 1023, 1024, 1025, 4099, 8192, 10000}) {
    check_same<TestType>(3, columns, {});
  }
}

TEMPLATE_TEST_CASE("rows of a device may begin anywhere", "[device]", float, double, bfloat16, float16) {
  for (const layout shape : {layout{1, 0}, layout{0, 1}, layout{3, 5}, layout{8, 8}, layout{4, 0}}) {
    check_same<TestType>(3, 2049, shape);
    check_same<TestType>(2, 1024, shape);
  }
}

TEMPLATE_TEST_CASE("velocities on a device may have a storage type of their own", "[device]",
                   (std::pair<float, bfloat16>), (std::pair<bfloat16, float>),
                   (std::pair<float16, bfloat16>)) {
  using T = typename TestType::first_type;
  using V = typename TestType::second_type;
  for (const index_t columns : {1, 33, 1023, 1024, 4099, 8192}) check_same<T, V>(3, columns, {});
  for (const layout shape : {layout{1, 0}, layout{4, 4}, layout{8, 8}}) check_same<T, V>(3, 2049, shape);
}

TEST_CASE("rows of a device may be many, or long", "[device]") {
  check_same<float>(700, 5, {});
  check_same<float>(1, 150000, {});
}

TEMPLATE_TEST_CASE("the average of weights on a device has the bits of the cpu's", "[device]", float, double,
                   bfloat16) {
  for (const index_t size : {1, 1023, 1024, 5000, 40000}) {
    const auto average = support::random_batch<TestType>(1, size, 1),
               weights = support::random_batch<TestType>(1, size, 2);
    const auto moved = [&](const auto& backend) {
      auto to = tempflow::from_host(backend, average.view()),
           from = tempflow::from_host(backend, weights.view());
      const auto count = static_cast<std::size_t>(size);
      tempflow::ema_update(backend, std::span(to.view().data(), count),
                           std::span<const TestType>(from.view().data(), count), 0.9);
      return tempflow::to_host(backend, to.view());
    };
    CHECK(support::same_bits(moved(support::make_test_device()), moved(tempflow::cpu_backend(1))));
  }
}

TEST_CASE("rows are gathered and copied in a device's memory", "[device]") {
  const auto backend = support::make_test_device();
  for (const index_t columns : {1, 5, 1024, 3001}) {
    const auto host = support::random_batch<float>(6, columns, 1);
    auto from = tempflow::from_host(backend, host.view()),
         to = tempflow::make_buffer<float>(backend, 4, columns);
    const std::vector<index_t> rows{5, 0, 0, 3};
    tempflow::gather_rows(backend, from.view(), rows, to.view());
    const auto gathered = tempflow::to_host(backend, to.view());
    for (index_t i = 0; i < 4; ++i) {
      CHECK(support::same_bits(gathered.view().slice(i, 1),
                               host.view().slice(rows[static_cast<std::size_t>(i)], 1)));
    }
    tempflow::copy_rows(backend, from.view().slice(1, 4), to.view());
    const auto copied = tempflow::to_host(backend, to.view());
    CHECK(support::same_bits(copied.view(), host.view().slice(1, 4)));
  }
}
