// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Bad input of the sampling operations: a typed error that names the values, before anything is written.

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "support/outputs.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/log_prob.hpp"

using support::check_throws;
using support::unchanged;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::index_t;
using tempflow::noise_id;
using tempflow::schedule_error;
using tempflow::shape_error;
using tempflow::transition;

namespace {

constexpr index_t rows = 4, columns = 6, explorations = 3;
constexpr double infinity = std::numeric_limits<double>::infinity(),
                 not_a_number = std::numeric_limits<double>::quiet_NaN();

using texts = std::vector<std::string>;

struct arguments {
  tempflow::cpu_backend backend{1};
  batch_buffer<float> x = support::random_batch<float>(rows, columns, 1),
                      v = support::random_batch<float>(rows, columns, 2),
                      y = support::random_batch<float>(rows, columns, 3),
                      branches = support::random_batch<float>(rows * explorations, columns, 4);
  std::vector<transition> steps = support::mixed_transitions(rows);
  std::vector<noise_id> ids = support::mixed_ids(rows);
  std::vector<double> log_probs = std::vector<double>(rows, 77),
                      branch_log_probs = std::vector<double>(rows * explorations, 77);

  void step() { tempflow::step(backend, x.view(), v, steps, {support::test_key, ids}, y, log_probs); }
  void branch() {
    tempflow::branch_step(backend, x.view(), v, tempflow::ode{}({0.9, 0.5}), steps, {support::test_key, ids},
                          y, branches, branch_log_probs);
  }
  void ode() { tempflow::ode_step(backend, x.view(), v, steps, y); }

  // Neither x nor any output changes while the call fails.
  template <class Error, class Act>
  void rejects(const Act& act, const texts& expected) {
    const unchanged state(x), next(y), fan(branches), scores(std::span<double>{log_probs}),
        fan_scores(std::span<double>{branch_log_probs});
    check_throws<Error>(act, expected);
    CHECK(state);
    CHECK(next);
    CHECK(fan);
    CHECK(scores);
    CHECK(fan_scores);
  }
};

// An arguments object after one change.
template <class Change>
arguments with(const Change& change) {
  arguments made;
  change(made);
  return made;
}

}  // namespace

TEST_CASE("extents that differ are errors of step that name argument and both extents", "[bad_input]") {
  auto v = with([](auto& a) { a.v = batch_buffer<float>(rows - 1, columns); });
  v.rejects<shape_error>([&] { v.step(); }, {"step: v is 3 x 6, expected 4 x 6"});
  auto y = with([](auto& a) { a.y = batch_buffer<float>(rows, columns + 1); });
  y.rejects<shape_error>([&] { y.step(); }, {"step: y is 4 x 7, expected 4 x 6"});
  auto steps = with([](auto& a) { a.steps.pop_back(); });
  steps.rejects<shape_error>([&] { steps.step(); }, {"step: transitions has 3 entries, expected 4"});
  auto ids = with([](auto& a) { a.ids.push_back({}); });
  ids.rejects<shape_error>([&] { ids.step(); }, {"step: ids has 5 entries, expected 4"});
  auto scores = with([](auto& a) { a.log_probs.resize(2); });
  scores.rejects<shape_error>([&] { scores.step(); }, {"step: log_probs has 2 entries, expected 4"});
}

TEST_CASE("transitions that are not finite are errors that name the row and its numbers", "[bad_input]") {
  const auto check = [](double transition::*field, double value, const texts& expected) {
    auto bad = with([&](auto& a) { a.steps[2].*field = value; });
    bad.rejects<schedule_error>([&] { bad.step(); }, expected);
    bad.rejects<schedule_error>([&] { bad.branch(); }, expected);
    bad.rejects<schedule_error>([&] { bad.ode(); }, expected);
  };
  check(&transition::alpha, not_a_number, {"row 2", "alpha = nan"});
  check(&transition::beta, infinity, {"row 2", "beta = inf"});
  check(&transition::std, -0.5, {"row 2", "std = -0.5"});
  check(&transition::std, not_a_number, {"row 2", "std = nan"});
}

TEST_CASE("a deterministic step has no log-prob: an error that names row and sigmas", "[bad_input]") {
  auto bad = with([](auto& a) { a.steps[1] = tempflow::ode{}({0.75, 0.5}); });
  const texts expected{"row 1", "sigma 0.75 to 0.5", "std = 0"};
  bad.rejects<schedule_error>([&] { bad.step(); }, expected);
  bad.rejects<schedule_error>([&] { bad.branch(); }, expected);
  bad.rejects<schedule_error>(
      [&] { tempflow::log_prob(bad.backend, bad.x.view(), bad.v, bad.y, bad.steps, bad.log_probs); },
      expected);
}

TEST_CASE("a deterministic row may be stepped when no log-probs are wanted", "[bad_input]") {
  auto a = with([](auto& given) { given.steps[1] = tempflow::ode{}({0.75, 0.5}); });
  tempflow::step(a.backend, a.x.view(), a.v, a.steps, {support::test_key, a.ids}, a.y, {});
  batch_buffer<float> expected(1, columns);
  tempflow::ode_step(a.backend, a.x.view().slice(1, 1), a.v.view().slice(1, 1), a.steps[1], expected);
  CHECK(support::same_bits(a.y.view().slice(1, 1), expected.view()));
}

TEST_CASE("a sampled state in the memory of the state or the velocity is an error, in whole or in part",
          "[bad_input]") {
  arguments a;
  const auto into = [&](batch_view<float> y, index_t count) {
    a.rejects<shape_error>(
        [&] {
          tempflow::step(a.backend, a.x.view().slice(0, count), a.v.view().slice(0, count), a.steps[0],
                         {support::test_key, a.ids[0]}, y, {});
        },
        {"step", "state"});
  };
  into(a.x, rows);
  into(a.v, rows);
  into(a.x.view().slice(1, 2), 2);
  into({a.v.view().data() + 1, 2, columns}, 2);
  into({a.x.view().data(), 2, columns, 3 * columns}, 2);
}

TEST_CASE("branches or a trunk in the memory of an input or of each other are errors", "[bad_input]") {
  arguments a;
  const auto into = [&](batch_view<float> trunk, batch_view<float> branches) {
    a.rejects<shape_error>(
        [&] {
          tempflow::branch_step(a.backend, a.x.view(), a.v, a.steps, a.steps, {support::test_key, a.ids},
                                trunk, branches, a.branch_log_probs);
        },
        {"branch_step"});
  };
  into(a.x, a.branches);
  into(a.v, a.branches);
  into(a.branches.view().slice(5, rows), a.branches);
}

TEST_CASE("slices of one tensor may be stepped from one into the next", "[bad_input]") {
  arguments a;
  std::vector<float> data(rows * 2 * columns);  // rows x 2 states x columns
  const batch_view<float> now(data.data(), rows, columns, 2 * columns),
      next(data.data() + columns, rows, columns, 2 * columns);
  for (index_t i = 0; i < rows; ++i) std::copy_n(a.x.view().row(i), columns, now.row(i));
  tempflow::step(a.backend, now, a.v, a.steps, {support::test_key, a.ids}, next, a.log_probs);
  const auto expected = a.log_probs;
  a.step();
  CHECK(support::same_bits(next, a.y.view()));
  CHECK(a.log_probs == expected);
}

TEST_CASE("an ODE step may be written over its own state", "[bad_input]") {
  arguments a;
  a.ode();
  tempflow::ode_step(a.backend, a.x.view(), a.v, a.steps, a.x);
  CHECK(support::same_bits(a.x, a.y));
}

TEST_CASE("extents that differ are errors of ode_step and log_prob", "[bad_input]") {
  auto bad = with([](auto& a) { a.v = batch_buffer<float>(rows, 1); });
  bad.rejects<shape_error>([&] { bad.ode(); }, {"ode_step: v is 4 x 1, expected 4 x 6"});
  const auto score = [&] {
    tempflow::log_prob(bad.backend, bad.x.view(), bad.v, bad.y, bad.steps, bad.log_probs);
  };
  bad.rejects<shape_error>(score, {"log_prob: v is 4 x 1, expected 4 x 6"});
  bad.v = batch_buffer<float>(rows, columns);
  bad.y = batch_buffer<float>(rows + 1, columns);
  bad.rejects<shape_error>([&] { bad.ode(); }, {"ode_step: y is 5 x 6"});
  bad.rejects<shape_error>(score, {"log_prob: y is 5 x 6"});
  bad.y = batch_buffer<float>(rows, columns);
  bad.log_probs.resize(7);
  bad.rejects<shape_error>(score, {"log_prob: log_probs has 7 entries, expected 4"});
}

TEST_CASE("branches that are not K times the rows are errors that name both, K = 0 included", "[bad_input]") {
  auto none = with([](auto& a) { a.branches = batch_buffer<float>(0, columns), a.branch_log_probs.clear(); });
  none.rejects<shape_error>([&] { none.branch(); }, {"branches has 0 rows", "multiple of the 4 rows"});
  auto odd = with([](auto& a) { a.branches = batch_buffer<float>(7, columns); });
  odd.rejects<shape_error>([&] { odd.branch(); }, {"branches has 7 rows", "multiple of the 4 rows"});
  auto narrow = with([](auto& a) { a.branches = batch_buffer<float>(rows * explorations, 2); });
  narrow.rejects<shape_error>([&] { narrow.branch(); }, {"branches is 12 x 2, expected 12 x 6"});
  auto trunk = with([](auto& a) { a.y = batch_buffer<float>(rows, 2); });
  trunk.rejects<shape_error>([&] { trunk.branch(); }, {"trunk is 4 x 2, expected 4 x 6"});
  auto scores = with([](auto& a) { a.branch_log_probs.resize(11); });
  scores.rejects<shape_error>([&] { scores.branch(); }, {"log_probs has 11 entries, expected 12"});
  auto ids = with([](auto& a) { a.ids.resize(2); });
  ids.rejects<shape_error>([&] { ids.branch(); }, {"ids has 2 entries, expected 4"});
}

TEST_CASE("rows of no elements have no log-prob: an error", "[bad_input]") {
  arguments a;
  a.x = a.v = a.y = batch_buffer<float>(rows, 0);
  a.branches = batch_buffer<float>(rows * explorations, 0);
  a.rejects<shape_error>([&] { a.step(); }, {"step", "0 elements"});
  a.rejects<shape_error>([&] { a.branch(); }, {"branch_step", "0 elements"});
  a.rejects<shape_error>([&] { tempflow::log_prob(a.backend, a.x.view(), a.v, a.y, a.steps, a.log_probs); },
                         {"log_prob", "0 elements"});
}

TEST_CASE("coefficients beyond fp32 and a std beyond any density are errors", "[bad_input]") {
  auto large = with([](auto& a) { a.steps[1].beta = -1e40; });
  large.rejects<schedule_error>([&] { large.step(); }, {"row 1", "beta = -1e+40"});
  auto small = with([](auto& a) { a.steps[1].std = 1e-200; });
  small.rejects<schedule_error>([&] { small.step(); }, {"row 1", "std = 1e-200"});
}

TEST_CASE("explorations beyond the last branch identity are an error", "[bad_input]") {
  auto a = with([](auto& given) { given.ids[2].branch = 65534; });
  a.rejects<shape_error>([&] { a.branch(); }, {"ids[2]", "branch = 65534", "3 explorations"});
  a.ids[2].branch = 65533;
  CHECK_NOTHROW(a.branch());
}

TEST_CASE("noise with neither one id nor one per row is an error", "[bad_input]") {
  arguments a;
  a.ids.resize(3);
  a.rejects<shape_error>(
      [&] {
        tempflow::fill_noise(a.backend, {support::test_key, a.ids}, a.y.view());
      },
      {"fill_noise: ids has 3 entries, expected 4"});
}
