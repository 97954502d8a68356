// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// branch_step without a trunk: K children of each state, and nothing else.

#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/outputs.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/branch_step.hpp"

using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::index_t;
using tempflow::transition;

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
