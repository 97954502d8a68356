// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Antithetic draws: the noise of an odd branch is minus that of the even branch before it, in every operation that
// draws, on every backend. And branches without a trunk, on a device too.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/fill_noise.hpp"

using support::placed;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::noise_id;
using tempflow::noise_source;

namespace {

constexpr index_t rows = 4, columns = 1030, explorations = 5;  // ids begin at even and at odd branches

std::vector<noise_id> ids_of_branches() {
  std::vector<noise_id> ids;
  for (const noise_id& id : support::mixed_ids(rows)) {
    for (std::uint16_t k = 0; k < explorations; ++k) {
      ids.push_back(id);
      ids.back().branch = static_cast<std::uint16_t>(id.branch + k);
    }
  }
  return ids;
}

template <class T, class B>
batch_buffer<T> noise_of(const B& backend, const std::vector<noise_id>& ids, bool antithetic) {
  placed<T, B> noise(backend, static_cast<index_t>(ids.size()), columns);
  tempflow::fill_noise(backend, noise_source{support::test_key, ids, antithetic}, noise.view());
  return noise.values();
}

// Of rows that draw from another id, or with the wrong sign.
template <class T, class B>
int wrong_signs(const B& backend) {
  const auto ids = ids_of_branches();
  auto before = ids;
  for (noise_id& id : before) id.branch = static_cast<std::uint16_t>(id.branch - id.branch % 2);
  const auto drawn = noise_of<T>(backend, ids, true), plain = noise_of<T>(backend, before, false);
  int wrong = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const double sign = ids[i].branch % 2 == 0 ? 1 : -1;
    const auto row = static_cast<index_t>(i);
    for (index_t e = 0; e < columns; ++e) {
      const double expected = sign * support::value_of(plain.view().row(row)[e]);
      wrong += support::value_of(drawn.view().row(row)[e]) == expected ? 0 : 1;
    }
  }
  return wrong;
}

template <class T>
struct sampled {
  batch_buffer<T> branches, one_by_one;
  std::vector<double> log_probs = std::vector<double>(rows * explorations), of_steps = log_probs;

  template <class B>
  sampled(const B& backend, bool antithetic) {
    const auto steps = support::mixed_transitions(rows);
    const auto ids = support::mixed_ids(rows);
    const auto host_x = support::random_batch<T>(rows, columns, 1),
               host_v = support::random_batch<T>(rows, columns, 2);
    placed<T, B> x(backend, host_x), v(backend, host_v), several(backend, rows * explorations, columns),
        singly(backend, rows * explorations, columns);
    const tempflow::log_prob_convention sums{.terms = tempflow::log_prob_terms::squared_error};
    tempflow::branch_step(backend, x.view(), v, tempflow::transition{}, steps,
                          {support::test_key, ids, antithetic}, {}, several.view(), log_probs, sums);
    const auto all = ids_of_branches();
    for (index_t r = 0; r < rows * explorations; ++r) {
      const index_t i = r / explorations;
      tempflow::step(backend, x.view().slice(i, 1), v.view().slice(i, 1), steps[static_cast<std::size_t>(i)],
                     {support::test_key, all[static_cast<std::size_t>(r)], antithetic},
                     singly.view().slice(r, 1), std::span(of_steps).subspan(static_cast<std::size_t>(r), 1),
                     sums);
    }
    branches = several.values(), one_by_one = singly.values();
    CHECK((several.sentinels_stand() && singly.sentinels_stand()));
  }
};

template <class T, class B>
void check_equal_to_steps(const B& backend) {
  for (const bool antithetic : {true, false}) {
    const sampled<T> found(backend, antithetic);
    CHECK(support::same_bits(found.branches, found.one_by_one));
    CHECK(support::same_bits(found.log_probs, found.of_steps));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("an odd branch takes minus the noise of the even branch before it", "[device][noise]",
                   float, double, bfloat16, float16) {
  CHECK(wrong_signs<TestType>(cpu_backend(2)) == 0);
  CHECK(wrong_signs<TestType>(tempflow::reference_backend{}) == 0);
  CHECK(wrong_signs<TestType>(support::make_test_device()) == 0);
}

TEMPLATE_TEST_CASE("antithetic explorations are the steps of their ids, bit for bit", "[device][noise]",
                   float, double, bfloat16, float16) {
  check_equal_to_steps<TestType>(cpu_backend(2));
  check_equal_to_steps<TestType>(tempflow::reference_backend{});
  check_equal_to_steps<TestType>(support::make_test_device());
  const sampled<TestType> device(support::make_test_device(), true), host(cpu_backend(1), true);
  CHECK(support::same_bits(device.branches, host.branches));
  CHECK(support::same_bits(device.log_probs, host.log_probs));
}

TEST_CASE("antithetic explorations lie on opposite sides of the mean", "[device][noise]") {
  const sampled<double> found(tempflow::reference_backend{}, true);
  const auto steps = support::mixed_transitions(rows);
  const auto x = support::random_batch<double>(rows, columns, 1),
             v = support::random_batch<double>(rows, columns, 2);
  batch_buffer<double> mean(rows, columns);
  tempflow::ode_step(tempflow::reference_backend{}, x.view(), v, steps, mean.view());
  for (index_t i = 0; i < rows; ++i) {
    const index_t first = i * explorations + support::mixed_ids(rows)[static_cast<std::size_t>(i)].branch % 2;
    double largest = 0;
    for (index_t e = 0; e < columns; ++e) {
      const auto away = [&](index_t r) { return found.branches.view().row(r)[e] - mean.view().row(i)[e]; };
      largest = std::max(largest, std::abs(away(first) + away(first + 1)));
    }
    CHECK(largest < 1e-14);  // a few roundings of numbers below 8
  }
}
