// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// branch_step is one ode_step and K steps, bit for bit; without a trunk, the steps alone.

#include "tempflow/ops/branch_step.hpp"

#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/outputs.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"

using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::float16;
using tempflow::index_t;
using tempflow::noise_id;
using tempflow::transition;

namespace {

// Ordinary Euler steps, another one for each row.
std::vector<transition> trunk_transitions(index_t rows) {
  std::vector<transition> steps;
  for (index_t i = 0; i < rows; ++i) {
    steps.push_back(tempflow::ode{}({.sigma = 0.9 - 0.1 * static_cast<double>(i), .sigma_next = 0.05}));
  }
  return steps;
}

template <class T, class B>
void check_equal_to_steps(const B& backend, index_t rows, index_t explorations, index_t columns,
                          tempflow::log_prob_convention convention) {
  const auto x = support::random_batch<T>(rows, columns, 1);
  const auto v = support::random_batch<T>(rows, columns, 2);
  const auto trunk_steps = trunk_transitions(rows), branch_steps = support::mixed_transitions(rows);
  auto ids = support::mixed_ids(rows);

  batch_buffer<T> trunk(rows, columns), branches(rows * explorations, columns);
  std::vector<double> log_probs(static_cast<std::size_t>(rows * explorations));
  tempflow::branch_step(backend, x.view(), v, trunk_steps, branch_steps, {support::test_key, ids}, trunk,
                        branches, log_probs, convention);

  batch_buffer<T> alone(rows, columns);
  tempflow::ode_step(backend, x.view(), v, trunk_steps, alone);
  CHECK(support::same_bits(trunk, alone));
  for (index_t k = 0; k < explorations; ++k) {
    std::vector<double> alone_log_probs(static_cast<std::size_t>(rows));
    tempflow::step(backend, x.view(), v, branch_steps, {support::test_key, ids}, alone, alone_log_probs,
                   convention);
    int wrong = 0;
    for (index_t i = 0; i < rows; ++i) {
      const index_t row = i * explorations + k;
      wrong += support::same_bits(branches.view().slice(row, 1), alone.view().slice(i, 1)) ? 0 : 1;
      wrong +=
          log_probs[static_cast<std::size_t>(row)] == alone_log_probs[static_cast<std::size_t>(i)] ? 0 : 1;
    }
    INFO("exploration " << k);
    CHECK(wrong == 0);
    for (noise_id& id : ids) ++id.branch;
  }
}

}  // namespace

TEMPLATE_TEST_CASE("branch_step is one ode_step and K steps, bit for bit", "[branch_step]", float, double,
                   bfloat16, float16) {
  const tempflow::cpu_backend cpu(2);
  for (const index_t columns : {1, 3, 4, 33, 1024, 1025, 2345}) {
    INFO(columns << " columns");
    check_equal_to_steps<TestType>(cpu, 5, 3, columns, {});
  }
}

TEST_CASE("branch_step is one ode_step and K steps on the reference backend and in every convention",
          "[branch_step]") {
  for (const auto convention : support::all_conventions()) {
    check_equal_to_steps<float>(tempflow::reference_backend{}, 3, 4, 1025, convention);
  }
}

TEST_CASE("one exploration of one row is the smallest branch_step", "[branch_step]") {
  check_equal_to_steps<float>(tempflow::cpu_backend(1), 1, 1, 7, {});
}

TEST_CASE("explorations of a row differ, and so do rows", "[branch_step]") {
  const auto x = support::random_batch<float>(2, 8, 1);
  batch_buffer<float> trunk(2, 8), branches(6, 8);
  std::vector<double> log_probs(6);
  const auto step = support::mixed_transitions(1)[0];
  const auto ids = support::mixed_ids(2);
  tempflow::branch_step(tempflow::cpu_backend(1), x.view(), x, step, step, {support::test_key, ids}, trunk,
                        branches, log_probs);
  for (index_t i = 0; i < 6; ++i) {
    for (index_t k = 0; k < i; ++k)
      CHECK_FALSE(support::same_bits(branches.view().slice(i, 1), branches.view().slice(k, 1)));
  }
}

TEST_CASE("a branch_step of no rows does nothing", "[branch_step]") {
  batch_buffer<float> none(0, 8);
  std::vector<double> log_probs;
  CHECK_NOTHROW(tempflow::branch_step(tempflow::cpu_backend(1), none.view(), none, transition{.std = 1},
                                      transition{.std = 1}, {support::test_key, noise_id{}}, none, none,
                                      log_probs));
}

namespace {

constexpr index_t rows = 3, explorations = 4, columns = 1030;

// The children of each state and their log-probs, with a trunk or without.
template <class T>
struct children {
  batch_buffer<T> branches{rows * explorations, columns};
  std::vector<double> log_probs = std::vector<double>(rows * explorations);

  template <class B>
  children(const B& backend, batch_view<T> trunk, const std::vector<transition>& trunk_steps) {
    const auto x = support::random_batch<T>(rows, columns, 1), v = support::random_batch<T>(rows, columns, 2);
    const auto steps = support::mixed_transitions(rows);
    const auto ids = support::mixed_ids(rows);
    tempflow::branch_step(backend, x.view(), v, trunk_steps, steps, {support::test_key, ids}, trunk, branches,
                          log_probs);
  }
};

template <class T, class B>
void check_children(const B& backend) {
  batch_buffer<T> trunk(rows, columns);
  const children<T> with(backend, trunk.view(), std::vector<transition>(rows)), without(backend, {}, {});
  CHECK(support::same_bits(with.branches, without.branches));
  CHECK(with.log_probs == without.log_probs);
}

}  // namespace

TEMPLATE_TEST_CASE("without a trunk, explorations are as they were with one", "[branch_step]", float, double,
                   bfloat16) {
  check_children<TestType>(tempflow::cpu_backend(2));
  check_children<TestType>(tempflow::reference_backend{});
}

TEST_CASE("without a trunk its steps are not looked at", "[branch_step]") {
  const double not_a_number = std::numeric_limits<double>::quiet_NaN();
  CHECK_NOTHROW(
      children<float>(tempflow::cpu_backend(1), {}, std::vector<transition>(7, {.alpha = not_a_number})));
}

TEST_CASE("a trunk of other extents than x is an error, one of no rows included", "[branch_step]") {
  for (const index_t wrong : {0, 2}) {
    batch_buffer<float> trunk(wrong, columns);
    support::check_throws<tempflow::shape_error>(
        [&] { children<float>(tempflow::cpu_backend(1), trunk.view(), std::vector<transition>(rows)); },
        {"branch_step: trunk is " + std::to_string(wrong) + " x 1030, expected 3 x 1030"});
  }
}
