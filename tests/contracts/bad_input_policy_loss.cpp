// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Bad input of policy_loss: a typed error that names the values, before anything is written.

#include <limits>
#include <span>
#include <string>
#include <vector>

#include "support/outputs.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"

using tempflow::batch_buffer;
using tempflow::clipped_grpo;
using tempflow::index_t;
using tempflow::policy_row;
using tempflow::schedule_error;
using tempflow::shape_error;
using tempflow::value_error;

namespace {

constexpr index_t rows = 4, columns = 6;
constexpr double infinity = std::numeric_limits<double>::infinity(),
                 not_a_number = std::numeric_limits<double>::quiet_NaN();

struct arguments {
  tempflow::cpu_backend backend{1};
  support::drawn_rows<float> drawn{backend, rows, columns};
  batch_buffer<float> gradient = support::random_batch<float>(rows, columns, 8);
  std::vector<policy_row> table = std::vector<policy_row>(rows, {.log_prob = 77});
  clipped_grpo objective{.kl_beta = 0.1};
  index_t mean_over = 0;
  double gradient_scale = 1;

  template <class Error>
  void rejects(const std::vector<std::string>& expected) {
    auto batch = drawn.batch();
    batch.mean_over = mean_over;
    batch.gradient_scale = gradient_scale;
    const support::unchanged gradients(gradient), results(std::span<policy_row>{table});
    support::check_throws<Error>(
        [&] {
          tempflow::policy_loss(backend, batch, drawn.v.view(), drawn.v_ref, objective, gradient.view(),
                                std::span<policy_row>(table));
        },
        expected);
    CHECK(gradients);
    CHECK(results);
  }
};

template <class Error, class Change>
void rejects_after(const Change& change, const std::vector<std::string>& expected) {
  arguments made;
  change(made);
  made.rejects<Error>(expected);
}

}  // namespace

TEST_CASE("extents that differ from v's are errors of policy_loss that name argument and both extents",
          "[bad_input]") {
  rejects_after<shape_error>([](auto& a) { a.drawn.x = batch_buffer<float>(3, columns); },
                             {"policy_loss: x is 3 x 6, expected 4 x 6"});
  rejects_after<shape_error>([](auto& a) { a.drawn.y = batch_buffer<float>(rows, 5); },
                             {"policy_loss: y is 4 x 5, expected 4 x 6"});
  rejects_after<shape_error>([](auto& a) { a.drawn.v_ref = batch_buffer<float>(rows, 5); },
                             {"policy_loss: v_ref is 4 x 5, expected 4 x 6"});
  rejects_after<shape_error>([](auto& a) { a.gradient = batch_buffer<float>(2, columns); },
                             {"policy_loss: gradient is 2 x 6, expected 4 x 6"});
}

TEST_CASE("per-row arguments of another length are errors of policy_loss that name both lengths",
          "[bad_input]") {
  rejects_after<shape_error>([](auto& a) { a.table.resize(3); },
                             {"policy_loss: rows has 3 entries, expected 4"});
  rejects_after<shape_error>([](auto& a) { a.drawn.log_probs.resize(5); },
                             {"old_log_probs has 5 entries, expected 4"});
  rejects_after<shape_error>([](auto& a) { a.drawn.advantages.clear(); },
                             {"advantages has 0 entries, expected 4"});
  rejects_after<shape_error>([](auto& a) { a.drawn.weights.resize(2); },
                             {"weights has 2 entries, expected 4"});
  rejects_after<shape_error>([](auto& a) { a.drawn.steps.resize(3); },
                             {"transitions has 3 entries, expected 4"});
}

TEST_CASE("old log-probs, advantages and weights that are not finite are errors that name entry and value",
          "[bad_input]") {
  rejects_after<value_error>([](auto& a) { a.drawn.log_probs[1] = not_a_number; },
                             {"policy_loss: old_log_probs[1] = nan"});
  rejects_after<value_error>([](auto& a) { a.drawn.advantages[3] = -infinity; },
                             {"policy_loss: advantages[3] = -inf"});
  rejects_after<value_error>([](auto& a) { a.drawn.weights[0] = infinity; },
                             {"policy_loss: weights[0] = inf"});
}

TEST_CASE("a negative weight, which would have the clip bound the other side, is an error that names it",
          "[bad_input]") {
  rejects_after<value_error>([](auto& a) { a.drawn.weights[2] = -0.5; },
                             {"policy_loss: weights[2] = -0.5, must not be negative"});
}

TEST_CASE("transitions without a density are errors of policy_loss that name the row", "[bad_input]") {
  rejects_after<schedule_error>([](auto& a) { a.drawn.steps[2].std = 0; },
                                {"policy_loss", "row 2", "std = 0"});
  rejects_after<schedule_error>([](auto& a) { a.drawn.steps[3].alpha = not_a_number; },
                                {"policy_loss", "row 3", "alpha = nan"});
}

TEST_CASE("an objective that makes no sense is an error of policy_loss", "[bad_input]") {
  rejects_after<value_error>([](auto& a) { a.objective.clip.high = -1; }, {"clip.high = -1"});
  rejects_after<value_error>([](auto& a) { a.objective.kl_beta = not_a_number; }, {"kl_beta = nan"});
}

TEST_CASE("a negative number of rows to average over and a scale that is not finite are errors",
          "[bad_input]") {
  rejects_after<value_error>([](auto& a) { a.mean_over = -3; }, {"mean_over = -3"});
  rejects_after<value_error>([](auto& a) { a.gradient_scale = infinity; }, {"gradient_scale = inf"});
}
