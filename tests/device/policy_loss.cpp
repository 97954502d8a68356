// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The loss on a device: one pass or two, whatever clusters it has, with the contracts of the cpu backend.

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/loss_outcome.hpp"
#include "support/policy_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"

using support::loss_outcome;
using support::placed;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::clipped_grpo;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::policy_row;

namespace {

// gradient_scale and in_place: as a trainer would.
template <class G, class T, class B>
loss_outcome<G> loss_of(const B& backend, const support::drawn_rows<T>& drawn, const clipped_grpo& objective,
                        double gradient_scale = 1) {
  const index_t rows = drawn.x.rows(), columns = drawn.x.columns();
  placed<T, B> x(backend, drawn.x), y(backend, drawn.y), v(backend, drawn.v), v_ref(backend, drawn.v_ref);
  placed<G, B> gradient(backend, rows, columns);
  auto batch = drawn.batch();
  batch.x = x.view(), batch.y = y.view(), batch.gradient_scale = gradient_scale;
  loss_outcome<G> out{
      .gradient = {}, .rows = std::vector<policy_row>(static_cast<std::size_t>(rows)), .total = {}};
  out.total =
      tempflow::policy_loss(backend, batch, v, v_ref, objective, gradient.view(), std::span(out.rows));
  out.gradient = gradient.values();
  CHECK(gradient.sentinels_stand());
  return out;
}

// Exponentials are a device's own: an ulp or two of a slope in double, which may move an fp32 slope by its last
// place.
template <class G>
void check_close(const loss_outcome<G>& a, const loss_outcome<G>& b) {
  const auto left = support::values_of(a.gradient.view()), right = support::values_of(b.gradient.view());
  const double step = sizeof(G) == 2 ? 0x1p-7 : 0x1p-22;
  bool close = true;
  for (std::size_t i = 0; i < left.size(); ++i) {
    close = close && std::abs(left[i] - right[i]) <= step * std::abs(right[i]) + 1e-30;
  }
  CHECK(close);
}

}  // namespace

TEMPLATE_TEST_CASE("off policy, a device's gradient is the cpu's", "[device]", float, bfloat16, float16) {
  const clipped_grpo objective{.clip = {1e-3, 2e-3}, .kl_beta = 0.04};
  for (const index_t columns : {37, 5000, 20000}) {
    support::drawn_rows<TestType> drawn(cpu_backend(1), 6, columns);
    support::fill_random(drawn.v.view(), 99, 1.5);  // another policy than the one that drew y
    const auto device = loss_of<TestType>(support::make_test_device(), drawn, objective);
    const auto expected = loss_of<TestType>(cpu_backend(1), drawn, objective);
    if (support::emulated) {
      CHECK(support::same_bits(device.gradient, expected.gradient));
    } else {
      check_close(device, expected);
    }
    for (std::size_t i = 0; i < device.rows.size(); ++i) {
      CHECK(device.rows[i].below == expected.rows[i].below);
      CHECK(device.rows[i].above == expected.rows[i].above);
    }
    CHECK(device.total.loss == Catch::Approx(expected.total.loss).epsilon(1e-14));
    CHECK(device.total.kl == Catch::Approx(expected.total.kl).epsilon(1e-14));
  }
}

TEST_CASE("gradients of a device have a storage type of their own", "[device]") {
  const auto check = [](const auto& storage, const auto& of_gradient) {
    using T = std::decay_t<decltype(storage)>;
    using G = std::decay_t<decltype(of_gradient)>;
    for (const index_t columns : {2049, 2048}) {
      const support::drawn_rows<T> drawn(cpu_backend(1), 3, columns);
      const clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.1};
      check_close(loss_of<G>(support::make_test_device(), drawn, objective),
                  loss_of<G>(cpu_backend(1), drawn, objective));
    }
  };
  check(bfloat16{}, 1.0f);
  check(bfloat16{}, 1.0);
  check(1.0f, bfloat16{});
  check(1.0f, float16{});
  check(1.0, 1.0f);
}

TEMPLATE_TEST_CASE("on policy, a device's ratio is exactly 1", "[device]", float, double, bfloat16, float16) {
  const auto backend = support::make_test_device();
  for (const index_t columns : {5, 1024, 4099, 30000}) {
    const auto host = support::random_batch<TestType>(4, columns, 1);
    placed<TestType, support::test_device> x(backend, host), v(backend, host), y(backend, 4, columns),
        gradient(backend, 4, columns);
    const auto steps = support::mixed_transitions(4);
    const auto ids = support::mixed_ids(4);
    std::vector<double> old(4);
    tempflow::step(backend, x.view(), v, steps, {support::test_key, ids}, y.view(), old);
    const std::vector<double> advantages{1, -1, 0.5, 2};
    const tempflow::policy_batch<TestType> batch{
        .x = x.view(), .y = y.view(), .transitions = steps, .old_log_probs = old, .advantages = advantages};
    std::vector<policy_row> rows(4);
    const auto total =
        tempflow::policy_loss(backend, batch, v, {}, clipped_grpo{}, gradient.view(), std::span(rows));
    CHECK(total.max_abs_log_ratio == 0);
    for (const auto& row : rows) CHECK((row.log_ratio == 0 && row.ratio == 1 && row.finite));
  }
}

TEMPLATE_TEST_CASE("a broken row of a device is left out, and the others are as they were", "[device]", float,
                   bfloat16, float16) {
  const clipped_grpo objective{.clip = {1e3, 1e3}, .kl_beta = 0.2};
  for (const index_t columns : {37, 3000}) {
    const support::drawn_rows<TestType> whole(cpu_backend(1), 4, columns);
    auto damaged = whole;
    damaged.y.view().row(2)[columns / 2] = tempflow::store<TestType>(std::numeric_limits<float>::infinity());
    const auto backend = support::make_test_device();
    const auto before = loss_of<TestType>(backend, whole, objective),
               after = loss_of<TestType>(backend, damaged, objective);
    CHECK(after.total.non_finite_rows == 1);
    CHECK_FALSE(tempflow::is_finite(after.total.loss));
    for (index_t i = 0; i < 4; ++i) {
      CHECK(after.rows[static_cast<std::size_t>(i)].finite == (i != 2));
      CHECK(after.is_zero(i) == (i == 2));
      if (i != 2)
        CHECK(support::same_bits(after.gradient.view().slice(i, 1), before.gradient.view().slice(i, 1)));
    }
  }
}

TEST_CASE("a row of a device whose fp16 gradient overflows is left out", "[device]") {
  for (const index_t columns : {37, 3000, 20000}) {
    const support::drawn_rows<float> drawn(cpu_backend(1), 4, columns);
    const clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0};
    const auto plain = loss_of<float>(cpu_backend(1), drawn, objective);
    std::vector<double> largest;  // of each row: a scale that two of four do not bear
    for (index_t i = 0; i < 4; ++i) {
      double most = 0;
      for (const double g : support::values_of(plain.gradient.view().slice(i, 1)))
        most = std::max(most, std::abs(g));
      largest.push_back(most);
    }
    std::sort(largest.begin(), largest.end());
    const double scale = 65536 / std::sqrt(largest[1] * largest[2]);
    const auto device = loss_of<float16>(support::make_test_device(), drawn, objective, scale);
    const auto expected = loss_of<float16>(cpu_backend(1), drawn, objective, scale);
    CHECK(expected.total.non_finite_rows == 2);
    for (index_t i = 0; i < 4; ++i) {
      CHECK(device.rows[static_cast<std::size_t>(i)].finite ==
            expected.rows[static_cast<std::size_t>(i)].finite);
      CHECK(device.is_zero(i) == expected.is_zero(i));
    }
    if (support::emulated) CHECK(support::same_bits(device.gradient, expected.gradient));
  }
}

TEST_CASE("the gradient of a device may replace an input", "[device]") {
  const clipped_grpo objective{.clip = {1e3, 1e3}, .kl_beta = 0.2};
  const auto backend = support::make_test_device();
  for (const index_t columns : {37, 3000}) {
    const support::drawn_rows<float> drawn(cpu_backend(1), 4, columns);
    const auto apart = loss_of<float>(backend, drawn, objective);
    placed<float, support::test_device> x(backend, drawn.x), y(backend, drawn.y), v(backend, drawn.v),
        v_ref(backend, drawn.v_ref);
    auto batch = drawn.batch();
    batch.x = x.view(), batch.y = y.view();
    tempflow::policy_loss(backend, batch, v, v_ref, objective, v.view());
    CHECK(support::same_bits(v.values(), apart.gradient));
  }
}

#if !defined(__CUDACC__)

TEST_CASE("a device's loss has the same bits with any clusters, and without", "[device]") {
  const clipped_grpo objective{.clip = {1e-3, 2e-3}, .kl_beta = 0.04};
  const auto check = [&](index_t rows, index_t columns, const auto& storage) {
    using T = std::decay_t<decltype(storage)>;
    support::drawn_rows<T> drawn(cpu_backend(1), rows, columns);
    support::fill_random(drawn.v.view(), 99, 1.5);
    const auto expected = loss_of<T>(cpu_backend(1), drawn, objective);
    for (const int clusters : {0, 1, 2, 8, 16}) {
      INFO(columns << " columns, clusters of " << clusters);
      const auto backend = support::make_test_device(clusters);
      CHECK(support::same_bits(loss_of<T>(backend, drawn, objective).gradient, expected.gradient));
      CHECK(backend.device().guards_stand());
    }
  };
  check(3, 9 * 1024, 1.0f);                               // one block of 16 warps, or clusters
  check(2, 17 * 1024 + 5, 1.0f);                          // clusters, or two passes
  check(1, 130 * 1024, bfloat16{});                       // clusters of 16
  if (!support::finds_races) check(1, 256 * 1024, 1.0f);  // more threads than the thread sanitizer takes
  check(1, 257 * 1024, 1.0f);                             // two passes on every device
  check(2, 5000, 1.0);                                    // fp64: always two
}

TEST_CASE("clusters cover each row once", "[device]") {
  for (index_t tiles = 1; tiles <= 300; ++tiles) {
    for (const int most : {0, 1, 2, 4, 8, 16}) {
      for (const int slabs : {1, 2}) {
        const auto shape =
            tempflow::detail::policy_row_shape(5, tiles, slabs, [&](const auto&) { return most; });
        if (shape.blocks == 0) {
          CHECK(tiles > 16 * (most > 8 ? 16 : most));
          continue;
        }
        CHECK((shape.blocks == shape.cluster && shape.rows == 5));
        CHECK(shape.cluster <= most);
        CHECK((shape.warps >= 1 && shape.warps <= 16));
        CHECK(shape.cluster * shape.warps >= tiles);
        CHECK((shape.cluster - 1) * shape.warps < tiles + shape.cluster);  // hardly a warp without a tile
        CHECK(shape.shared_bytes <= 227 * 1024);
      }
    }
  }
}

#endif
