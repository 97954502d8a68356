// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Offsets that do not say which transitions leave which state: errors that name the values, before anything is
// written.

#include <span>
#include <string>
#include <vector>

#include "support/outputs.hpp"
#include "support/sibling_problem.hpp"
#include "tempflow/backend/cpu.hpp"

using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::index_t;
using tempflow::policy_row;
using tempflow::shape_error;

namespace {

struct arguments {
  tempflow::cpu_backend backend{1};
  support::sibling_problem<float> given{backend, 6, {2, 0, 3}};
  batch_buffer<float> gradient = support::random_batch<float>(3, 6, 8);
  std::vector<policy_row> table = std::vector<policy_row>(5, {.log_prob = 77});
  std::vector<double> log_probs = std::vector<double>(5, 77);

  void loss(batch_view<float> to) {
    tempflow::policy_loss(backend, given.batch(), given.v.view(), given.v_ref,
                          tempflow::clipped_grpo{.kl_beta = 0.1}, to, std::span<policy_row>(table));
  }
  void scores() { tempflow::log_prob(backend, given.batch(), given.v.view(), log_probs); }
};

template <class Error, class Change, class Act>
void rejects(const Change& change, const Act& act, const std::string& expected) {
  arguments made;
  change(made);
  const support::unchanged gradients(made.gradient), results(std::span<policy_row>{made.table}),
      scores(std::span<double>{made.log_probs});
  support::check_throws<Error>([&] { act(made); }, {expected});
  CHECK((gradients && results && scores));
}

void rejects_offsets(const std::vector<index_t>& offsets, const std::string& expected) {
  const auto change = [&](auto& a) { a.given.offsets = offsets; };
  rejects<shape_error>(
      change, [](auto& a) { a.loss(a.gradient.view()); }, "policy_loss: " + expected);
  rejects<shape_error>(
      change, [](auto& a) { a.scores(); }, "log_prob: " + expected);
}

}  // namespace

TEST_CASE("offsets that do not cut the rows among the states are errors that name the values",
          "[bad_input]") {
  rejects_offsets({0, 2, 5}, "offsets has 3 entries, expected 4");
  rejects_offsets({0, 2, 2, 2, 5}, "offsets has 5 entries, expected 4");
  rejects_offsets({1, 2, 2, 5}, "offsets[0] = 1, must be 0");
  rejects_offsets({0, 3, 2, 5}, "offsets[2] = 2 is below offsets[1] = 3");
  rejects_offsets({0, 2, 7, 5}, "offsets[3] = 5 is below offsets[2] = 7");
  rejects_offsets({0, 2, 2, 4}, "offsets end at 4, the batch has 5 rows");
  rejects_offsets({0, 2, 2, 6}, "offsets end at 6, the batch has 5 rows");
}

TEST_CASE("arguments of another length than states or rows are errors that name both", "[bad_input]") {
  const auto loss = [](auto& a) { a.loss(a.gradient.view()); };
  rejects<shape_error>([](auto& a) { a.table.resize(3); }, loss, "rows has 3 entries, expected 5");
  rejects<shape_error>([](auto& a) { a.given.rows.advantages.resize(3); }, loss,
                       "advantages has 3 entries, expected 5");
  rejects<shape_error>([](auto& a) { a.given.rows.weights.resize(3); }, loss,
                       "weights has 3 entries, expected 5");
  rejects<shape_error>([](auto& a) { a.given.rows.log_probs.resize(3); }, loss,
                       "old_log_probs has 3 entries, expected 5");
  rejects<shape_error>([](auto& a) { a.given.steps.resize(5); }, loss,
                       "transitions has 5 entries, expected 3");
  rejects<shape_error>([](auto& a) { a.given.x = batch_buffer<float>(5, 6); }, loss,
                       "x is 5 x 6, expected 3 x 6");
  rejects<shape_error>([](auto& a) { a.given.v_ref = batch_buffer<float>(5, 6); }, loss,
                       "v_ref is 5 x 6, expected 3 x 6");
  rejects<shape_error>([](auto& a) { a.gradient = batch_buffer<float>(5, 6); }, loss,
                       "gradient is 5 x 6, expected 3 x 6");
  rejects<shape_error>([](auto& a) { a.log_probs.resize(3); }, [](auto& a) { a.scores(); },
                       "log_prob: log_probs has 3 entries, expected 5");
}

TEST_CASE("a gradient of siblings must not lie over y", "[bad_input]") {
  const auto over = [](index_t first) {
    return [first](auto& a) { a.loss(a.given.rows.y.view().slice(first, 3)); };
  };
  const std::string message = "policy_loss: gradient shares memory with y";
  rejects<shape_error>([](auto&) {}, over(0), message);
  rejects<shape_error>([](auto&) {}, over(2), message);
}
