// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Where arguments and results of a device may lie, what waits, what allocates, and what is refused.

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/branch_step.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using support::placed;
using support::placed_numbers;
using tempflow::batch_buffer;
using tempflow::index_t;

namespace {

constexpr index_t rows = 3, columns = 2500;

struct problem {
  support::test_device backend;
  batch_buffer<float> host = support::random_batch<float>(rows, columns, 1);
  placed<float, support::test_device> x{backend, host}, v{backend, host}, y{backend, rows, columns};
  std::vector<tempflow::transition> steps = support::mixed_transitions(rows);
  std::vector<tempflow::noise_id> ids = support::mixed_ids(rows);

  explicit problem(const support::test_device& on) : backend(on) {}

  void step(std::span<double> log_probs) {
    tempflow::step(backend, x.view(), v, steps, {support::test_key, ids}, y.view(), log_probs);
  }
};

}  // namespace

TEST_CASE("a device reads tables and writes results in its own memory or the host's", "[device]") {
  problem p(support::make_test_device());
  std::vector<double> host(rows);
  p.step(host);
  placed_numbers<support::test_device> device(p.backend, rows);
  p.step(device.span());
  CHECK(device.values() == host);

  // A policy batch whose tables lie on the device gives what one in host memory gives.
  const std::vector<double> advantages{1, -2, 0.5}, weights{1, 2, 3};
  placed_numbers<support::test_device> on_device(p.backend, advantages), weighed(p.backend, weights);
  placed<float, support::test_device> a(p.backend, rows, columns), b(p.backend, rows, columns);
  tempflow::policy_batch<float> batch{.x = p.x.view(),
                                      .y = p.y.view(),
                                      .transitions = p.steps,
                                      .old_log_probs = host,
                                      .advantages = advantages,
                                      .weights = weights};
  std::vector<tempflow::policy_row> of_rows(rows);
  tempflow::policy_loss(p.backend, batch, p.v, {}, tempflow::clipped_grpo{}, a.view(), std::span(of_rows));
  batch.old_log_probs = device.span(), batch.advantages = on_device.span();
  batch.weights = std::span<const double>(weighed.span());
  tempflow::policy_loss(p.backend, batch, p.v, {}, tempflow::clipped_grpo{}, b.view());
  CHECK(support::same_bits(a.values(), b.values()));
}

TEST_CASE("batches in host memory are refused by a device, and values in its memory show", "[device]") {
  problem p(support::make_test_device());
  std::vector<double> log_probs(rows, 7);
  const batch_buffer<float> host(rows, columns);
  CHECK_THROWS_MATCHES(tempflow::log_prob(p.backend, p.x.view(), host, p.y, p.steps, log_probs),
                       tempflow::memory_error,
                       MessageMatches(ContainsSubstring("log_prob: v lies in host memory")));
  CHECK(log_probs == std::vector<double>(rows, 7));

  std::vector<double> advantages(rows, 1.0), old(rows);
  advantages[1] = std::numeric_limits<double>::quiet_NaN();
  tempflow::policy_batch<float> batch{.x = p.x.view(),
                                      .y = p.y.view(),
                                      .transitions = p.steps,
                                      .old_log_probs = old,
                                      .advantages = advantages};
  placed<float, support::test_device> gradient(p.backend, rows, columns);
  CHECK_THROWS_AS(tempflow::policy_loss(p.backend, batch, p.v, {}, tempflow::clipped_grpo{}, gradient.view()),
                  tempflow::value_error);
  placed_numbers<support::test_device> on_device(p.backend, advantages);
  batch.advantages = on_device.span();
  const auto total =
      tempflow::policy_loss(p.backend, batch, p.v, {}, tempflow::clipped_grpo{}, gradient.view());
  CHECK(total.non_finite_rows == 1);
  const auto values = gradient.values();
  for (index_t e = 0; e < columns; ++e) CHECK(values.view().row(1)[e] == 0);
}

TEST_CASE("a device works with the caller's workspace, or says how much it needs", "[device]") {
  const auto owner = support::make_test_device();
  const std::size_t bytes = tempflow::device_workspace_bytes(rows, columns);
  auto memory = owner.make_buffer<float>(1, static_cast<index_t>(bytes / sizeof(float)) + 1);
  auto* const start = reinterpret_cast<std::byte*>(memory.view().data());
  {
    problem p(support::test_device(owner.device(), std::span(start, bytes)));
    std::vector<double> ours(rows), theirs(rows);
    p.step(ours);
    problem(owner).step(theirs);
    CHECK(ours == theirs);
  }
  const support::test_device tight(owner.device(), std::span(start, tempflow::detail::counter_bytes + 256));
  std::vector<double> untouched(rows, 7);
  CHECK_THROWS_MATCHES(problem(tight).step(untouched), tempflow::memory_error,
                       MessageMatches(ContainsSubstring("device_workspace_bytes(rows, columns")));
  CHECK(untouched == std::vector<double>(rows, 7));
  CHECK_THROWS_AS(support::test_device(owner.device(), std::span(start, 100)), tempflow::memory_error);
  CHECK_THROWS_AS(support::test_device(owner.device(), std::span(start + 8, bytes - 8)),
                  tempflow::memory_error);
  CHECK_THROWS_AS(tempflow::device_workspace_bytes(-1, 5), tempflow::shape_error);
}

#if !defined(__CUDACC__)

TEST_CASE("a device waits for results in host memory alone, and allocates nothing once it is reserved",
          "[device]") {
  problem p(support::make_test_device());
  placed_numbers<support::test_device> log_probs(p.backend, rows);
  p.backend.reserve(rows, columns, 4);
  const auto& device = p.backend.device();
  const int allocations = device.allocations(), waits = device.waits();
  const int launches = device.launches();
  p.step(log_probs.span());
  CHECK(device.waits() == waits);
  CHECK(device.launches() == launches + 1);  // its tables go with it
  tempflow::step(p.backend, p.x.view(), p.v, p.steps[0],
                 {support::test_key, std::span<const tempflow::noise_id>(p.ids)}, p.y.view(),
                 log_probs.span());
  CHECK(device.launches() == launches + 2);
  std::vector<double> host(rows);
  p.step(host);
  CHECK(device.waits() == waits + 1);
  CHECK(device.allocations() == allocations);
  CHECK(device.guards_stand());
}

TEST_CASE("the bytes that a workspace is said to need are enough for every operation", "[device]") {
  for (const index_t count : {1, 5, 300}) {
    for (const index_t size : {1, 1024, 5000, 20000}) {
      const auto owner = support::make_test_device(1);  // without clusters: two passes need most
      const std::size_t bytes = tempflow::device_workspace_bytes(count, size, 2);
      if (count * size > 100000) continue;
      auto memory = owner.make_buffer<double>(1, static_cast<index_t>(bytes / sizeof(double)) + 1);
      const support::test_device backend(
          owner.device(), std::span(reinterpret_cast<std::byte*>(memory.view().data()), bytes));
      const support::drawn_rows<float> drawn(tempflow::cpu_backend(1), count, size);
      placed<float, support::test_device> x(backend, drawn.x), y(backend, drawn.y), v(backend, drawn.v),
          gradient(backend, count, size), trunk(backend, count, size), branches(backend, 2 * count, size);
      auto batch = drawn.batch();
      batch.x = x.view(), batch.y = y.view();
      const std::vector<double> weights(static_cast<std::size_t>(count), 1.0);
      batch.weights = weights;
      tempflow::policy_loss(backend, batch, v, y, tempflow::clipped_grpo{}, gradient.view());
      std::vector<double> log_probs(static_cast<std::size_t>(2 * count));
      const auto steps = support::mixed_transitions(count);
      const auto ids = support::mixed_ids(count);
      tempflow::branch_step(backend, x.view(), v, steps, steps, {support::test_key, ids}, trunk.view(),
                            branches.view(), log_probs);
      CHECK(owner.device().guards_stand());
    }
  }
}

TEST_CASE("what cannot be captured into a graph is refused before anything is launched", "[device]") {
  problem p(support::make_test_device());
  placed_numbers<support::test_device> log_probs(p.backend, rows);
  const auto& device = p.backend.device();
  device.capture(true);
  const int launches = device.launches();
  CHECK_THROWS_MATCHES(p.step(log_probs.span()), tempflow::memory_error,
                       MessageMatches(ContainsSubstring("reserve(rows, columns, explorations)")));
  std::vector<double> host(rows);
  CHECK_THROWS_MATCHES(p.step(host), tempflow::memory_error,
                       MessageMatches(ContainsSubstring("cannot be waited for")));
  CHECK(device.launches() == launches);
  device.capture(false);
  p.backend.reserve(rows, columns);
  device.capture(true);
  p.step(log_probs.span());
  CHECK(device.launches() == launches + 1);
}

TEST_CASE("pinned memory belongs to the stream, for results and for arguments", "[device]") {
  problem p(support::make_test_device());
  const auto& device = p.backend.device();
  const std::span<double> pinned(device.pinned(), rows);
  p.backend.reserve(rows, columns);
  const int waits = device.waits(), launches = device.launches();
  p.step(pinned);
  CHECK(device.waits() == waits);
  std::vector<double> host(rows);
  p.step(host);
  CHECK(std::equal(host.begin(), host.end(), pinned.begin()));

  const std::vector<double> advantages{1, -2, 0.5};
  const tempflow::policy_batch<float> batch{.x = p.x.view(),
                                            .y = p.y.view(),
                                            .transitions = p.steps,
                                            .old_log_probs = pinned,
                                            .advantages = advantages};
  placed<float, support::test_device> gradient(p.backend, rows, columns);
  const int before = device.launches();
  const auto total =
      tempflow::policy_loss(p.backend, batch, p.v, {}, tempflow::clipped_grpo{}, gradient.view());
  CHECK(total.max_abs_log_ratio == 0);
  CHECK(device.launches() == before + 1);
  CHECK(launches < before);
}

TEST_CASE("statistics need rows that the host can read and wait for", "[device]") {
  problem p(support::make_test_device());
  std::vector<double> old(rows);
  p.step(old);
  const std::vector<double> advantages(rows, 1.0);
  const tempflow::policy_batch<float> batch{.x = p.x.view(),
                                            .y = p.y.view(),
                                            .transitions = p.steps,
                                            .old_log_probs = old,
                                            .advantages = advantages};
  placed<float, support::test_device> gradient(p.backend, rows, columns);
  placed_numbers<support::test_device> memory(p.backend, 64);
  const std::span on_device(reinterpret_cast<tempflow::policy_row*>(memory.span().data()), rows);
  const auto loss = [&](std::span<tempflow::policy_row> to) {
    return tempflow::policy_loss(p.backend, batch, p.v, {}, tempflow::clipped_grpo{}, gradient.view(), to);
  };
  const auto& device = p.backend.device();
  const int launches = device.launches();
  CHECK_THROWS_MATCHES(loss(on_device), tempflow::memory_error,
                       MessageMatches(ContainsSubstring("device memory")));
  CHECK(device.launches() == launches);
  tempflow::policy_loss_rows(p.backend, batch, p.v, {}, tempflow::clipped_grpo{}, gradient.view(), on_device);
  const std::span pinned(reinterpret_cast<tempflow::policy_row*>(device.pinned()), rows);
  const int waits = device.waits();
  CHECK(loss(pinned).rows == rows);
  CHECK(device.waits() > waits);
}

TEST_CASE("an empty result is none, whatever its address", "[device]") {
  problem p(support::make_test_device());
  std::vector<double> cleared(rows, 7);
  double* const storage = cleared.data();
  const std::vector<double> before = cleared;
  cleared.clear();
  p.step(cleared);
  CHECK(std::equal(before.begin(), before.end(), storage));
}

TEST_CASE("a graph keeps the workspace that it was captured with", "[device]") {
  problem p(support::make_test_device());
  placed_numbers<support::test_device> log_probs(p.backend, rows);
  p.backend.reserve(rows, columns);
  const auto& device = p.backend.device();
  device.capture(true);
  p.step(log_probs.span());
  CHECK_THROWS_AS(p.x.values(), tempflow::memory_error);  // a copy to the host would wait
  device.capture(false);
  const std::size_t blocks = device.blocks();
  p.backend.reserve(50 * rows, columns);
  CHECK(device.blocks() == blocks + 1);  // a larger one, and the old one
  p.backend.reserve(500 * rows, columns);
  CHECK(device.blocks() == blocks + 1);  // nothing was captured with the larger one
}

TEST_CASE("a device's memory is given back", "[device]") {
  const support::emulated_device device;
  {
    const support::test_device backend(device);
    auto a = backend.make_buffer<float>(3, 4);
    auto b = std::move(a);
    a = b.like(2, 2);
    b = std::move(a);
    problem(backend).step({});
  }
  CHECK(device.blocks() == 0);
  CHECK(device.wrong_releases() == 0);
}

#endif
