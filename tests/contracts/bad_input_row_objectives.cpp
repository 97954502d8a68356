// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Bad input of losses of a row's means, in one call and in two: a typed error that names it, before anything is written.

#include <limits>
#include <span>
#include <string>
#include <vector>

#include "support/outputs.hpp"
#include "support/row_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/advantage_weighted_matching.hpp"
#include "tempflow/objective/diffusion_nft.hpp"
#include "tempflow/objective/dual_clipped_grpo.hpp"
#include "tempflow/objective/flow_dppo.hpp"
#include "tempflow/objective/grpo_guard.hpp"
#include "tempflow/objective/preference_pairs.hpp"
#include "tempflow/objective/sequence_grpo.hpp"
#include "tempflow/ops/policy_gradient.hpp"
#include "tempflow/ops/policy_loss.hpp"

using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::element_mask;
using tempflow::index_t;
using tempflow::policy_row;
using tempflow::row_factors;
using tempflow::row_sums;
using tempflow::schedule_error;
using tempflow::shape_error;
using tempflow::value_error;

namespace {

constexpr index_t columns = 6;
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

struct arguments {
  tempflow::cpu_backend backend{1};
  support::row_problem<float> of;
  tempflow::policy_batch<float> batch;
  batch_buffer<float> v_old, gradient;
  std::vector<policy_row> rows;
  std::vector<row_sums> sums;
  std::vector<row_factors> factors;

  explicit arguments(bool finished = false)
      : of(backend, columns, finished),
        batch(of.batch()),
        v_old(of.v_old),
        gradient(support::random_batch<float>(of.given.states(), columns, 8)),
        rows(of.given.rows.log_probs.size(), {.log_prob = 77}),
        sums(rows.size(),
             tempflow::detail::without_missing({.elements = columns, .residual = 1}, false, false, false)),
        factors(rows.size(), {.residual = 0.5}) {}

  template <class Error, class Act>
  void rejects(const Act& act, const std::vector<std::string>& expected) {
    const support::unchanged written(gradient), results(std::span<policy_row>{rows}),
        of_sums(std::span<row_sums>{sums}), of_factors(std::span<row_factors>{factors});
    support::check_throws<Error>(act, expected);
    CHECK(written);
    CHECK(results);
    CHECK(of_sums);
    CHECK(of_factors);
  }
  template <class Error, class Objective>
  void loss_rejects(const Objective& objective, const std::vector<std::string>& expected) {
    rejects<Error>(
        [&] {
          tempflow::policy_loss(backend, batch, of.given.v, of.given.v_ref, v_old, objective, gradient,
                                std::span<policy_row>(rows));
        },
        expected);
  }
  template <class Error, class Objective>
  void scores_reject(const Objective& objective, const std::vector<std::string>& expected) {
    rejects<Error>(
        [&] {
          tempflow::policy_scores(batch, objective, std::span<const row_sums>(sums),
                                  std::span<policy_row>(rows), std::span<row_factors>(factors));
        },
        expected);
  }
};

}  // namespace

TEST_CASE("an objective that needs a velocity and does not get it says so", "[bad_input]") {
  arguments a;
  a.v_old = {};
  a.loss_rejects<shape_error>(tempflow::grpo_guard{}, {"needs v_old", "(8 x 6)"});
  a.loss_rejects<shape_error>(tempflow::flow_dppo{}, {"needs v_old"});
  a.v_old = batch_buffer<float>(8, 5);
  a.loss_rejects<shape_error>(tempflow::grpo_guard{}, {"v_old is 8 x 5, expected 8 x 6"});
  arguments b;
  b.of.given.v_ref = {};
  b.loss_rejects<shape_error>(tempflow::grpo_guard{.kl_beta = 0.1}, {"kl_beta = 0.1 needs v_ref"});
  b.scores_reject<shape_error>(tempflow::preference_pairs{}, {"needs v_ref"});
}

TEST_CASE("masks that do not fit a batch are errors of its loss", "[bad_input]") {
  const std::vector<std::uint8_t> ones(8 * columns, 1), zeros(8 * columns);
  arguments a;
  a.batch.mask = element_mask(ones.data(), 8, columns - 1);
  a.loss_rejects<shape_error>(tempflow::grpo_guard{}, {"mask is 8 x 5, expected 8 x 6"});
  a.batch.mask = element_mask(ones.data(), 7, columns);
  a.loss_rejects<shape_error>(tempflow::grpo_guard{}, {"mask is 7 x 6"});
  a.batch.mask = element_mask(zeros.data(), 8, columns);
  a.loss_rejects<value_error>(tempflow::grpo_guard{}, {"row 0 of the mask counts none"});
  a.rejects<value_error>(
      [&] {
        tempflow::policy_loss(a.backend, a.batch, a.of.given.v, {}, tempflow::clipped_grpo{}, a.gradient,
                              std::span<policy_row>(a.rows));
      },
      {"a mask goes with objectives in their general form", "as_row_objective"});
}

TEST_CASE("log-probs of another convention or of none are errors", "[bad_input]") {
  arguments a(true);
  a.batch.convention = {};
  a.loss_rejects<value_error>(tempflow::advantage_weighted_matching{}, {"-mean(r^2)", "squared_error"});
  a.loss_rejects<schedule_error>(tempflow::grpo_guard{}, {"std = 0"});
  a.batch.convention = support::squared_error;
  a.batch.old_log_probs = {};
  a.loss_rejects<shape_error>(tempflow::advantage_weighted_matching{}, {"old_log_probs has 0 entries"});
  a.loss_rejects<schedule_error>(
      tempflow::diffusion_nft{.kl_over = tempflow::kl_denominator::transition_variance}, {"std = 0"});
}

TEST_CASE("noise in place of y goes with objectives of the ratio alone", "[bad_input]") {
  arguments a;
  a.batch = a.of.given.drawn_again();
  a.loss_rejects<shape_error>(tempflow::grpo_guard{}, {"needs y"});
  const std::vector<std::uint8_t> ones(columns, 1);
  a.batch.mask = element_mask(ones.data(), 1, columns);
  a.rejects<shape_error>(
      [&] {
        tempflow::policy_loss(a.backend, a.batch, a.of.given.v, {}, {},
                              tempflow::as_row_objective(tempflow::clipped_grpo{}), a.gradient,
                              std::span<policy_row>(a.rows));
      },
      {"needs y", "mask"});
}

TEST_CASE("parameters of objectives that make no sense are errors", "[bad_input]") {
  arguments a, b(true);
  a.loss_rejects<value_error>(tempflow::grpo_guard{.clip = {-1, 0}}, {"clip.low = -1"});
  a.loss_rejects<value_error>(tempflow::flow_dppo{.divergence_bound = -1}, {"divergence_bound = -1"});
  b.loss_rejects<value_error>(tempflow::diffusion_nft{.mixture = 0}, {"mixture = 0"});
  b.loss_rejects<value_error>(tempflow::diffusion_nft{.min_weight = not_a_number}, {"min_weight = nan"});
  b.loss_rejects<value_error>(tempflow::advantage_weighted_matching{.clip = {not_a_number, 1}},
                              {"clip.low = nan"});
  a.scores_reject<value_error>(tempflow::dual_clipped_grpo{.max_ratio = 1}, {"max_ratio = 1"});
  a.scores_reject<value_error>(tempflow::sequence_grpo{.advantage_clip = -1}, {"advantage_clip = -1"});
}

TEST_CASE("objectives of a batch whose tables do not fit its rows are errors", "[bad_input]") {
  arguments a;
  const std::vector<std::int64_t> three(3);
  a.scores_reject<shape_error>(tempflow::sequence_grpo{.sequences = three},
                               {"sequences has 3 entries, expected 17"});
  a.factors.resize(4);
  a.scores_reject<shape_error>(tempflow::clipped_grpo{}, {"factors has 4 entries, expected 17"});
  arguments b;
  b.sums[2].elements = 0;
  b.scores_reject<value_error>(tempflow::clipped_grpo{}, {"sums[2].elements = 0"});
  const auto pairs_reject = [](const std::vector<std::array<index_t, 2>>& pairs, const std::string& text) {
    const std::vector<tempflow::scored_row> rows(4);
    std::vector<tempflow::row_loss> answers(4);
    support::check_throws<shape_error>(
        [&] { tempflow::preference_pairs{.pairs = pairs}(rows, std::span<tempflow::row_loss>(answers)); },
        {text});
  };
  pairs_reject({{{0, 1}}}, "1 pairs for 4 rows");
  pairs_reject({{{0, 1}}, {{1, 2}}}, "names row 1");
  pairs_reject({{{0, 1}}, {{2, 4}}}, "names row 4");
}

TEST_CASE("factors that are not finite, or want a velocity that is not given, are errors", "[bad_input]") {
  const auto rejects = [](const auto& error, const row_factors& factor, const std::string& text) {
    arguments a;
    a.factors[3] = factor;
    a.template rejects<std::remove_cvref_t<decltype(error)>>(
        [&] {
          tempflow::policy_gradient(a.backend, a.batch, a.of.given.v, {}, {}, a.factors, a.gradient,
                                    std::span<policy_row>(a.rows));
        },
        {text});
  };
  rejects(value_error(""), {.residual = not_a_number}, "factors[3].residual = nan");
  rejects(value_error(""), {.residual = 1e39}, "factors[3].residual = 1e+39");
  rejects(shape_error(""), {.reference = 1}, "factors[3].reference = 1, and its velocity is not given");
  rejects(shape_error(""), {.old = 1}, "factors[3].old = 1");
}

TEST_CASE("a fp16 gradient from factors has rows to be marked in", "[bad_input]") {
  arguments a;
  batch_buffer<tempflow::float16> small(a.of.given.states(), columns);
  const support::unchanged written(small);
  support::check_throws<shape_error>(
      [&] { tempflow::policy_gradient(a.backend, a.batch, a.of.given.v, {}, {}, a.factors, small); },
      {"rows has 0 entries, expected 17"});
  CHECK(written);
}

TEST_CASE("sums that were made without what an objective needs are errors of their scores", "[bad_input]") {
  arguments a, b(true);
  tempflow::policy_sums(a.backend, a.batch, a.of.given.v, {}, {}, a.sums);
  CHECK(a.sums[0].old != a.sums[0].old);
  a.scores_reject<shape_error>(tempflow::flow_dppo{}, {"needs v_old"});
  a.scores_reject<shape_error>(tempflow::clipped_grpo{.kl_beta = 0.1}, {"needs v_ref"});
  tempflow::policy_sums(b.backend, b.batch, b.of.given.v, b.of.given.v_ref, b.v_old, b.sums);
  b.scores_reject<value_error>(tempflow::diffusion_nft{}, {"mixture = 1", "without it"});
  b.sums[1].elements = 1e300;
  b.scores_reject<value_error>(tempflow::clipped_grpo{}, {"sums[1].elements = 1e+300"});
}

TEST_CASE("finished samples want clean transitions, and what depends on rows of no weight wants them",
          "[bad_input]") {
  arguments a;
  a.loss_rejects<schedule_error>(tempflow::diffusion_nft{}, {"clean_transition", "row 0"});
  arguments b(true);
  b.batch.without_zeros = true;
  b.loss_rejects<value_error>(tempflow::diffusion_nft{.kl_beta = 0}, {"rows of advantage or weight 0"});
  arguments c;
  c.batch.without_zeros = true;
  c.scores_reject<value_error>(tempflow::sequence_grpo{}, {"rows of advantage or weight 0"});
}

TEST_CASE("the mean of a loss is over the rows that are scored, with or without y", "[row-objective]") {
  arguments a;
  tempflow::policy_sums(a.backend, a.batch, a.of.given.v, {}, {}, a.sums);
  const auto factors_of = [&](const tempflow::policy_batch<float>& batch) {
    tempflow::policy_scores(batch, tempflow::clipped_grpo{.clip = {1, 100}},
                            std::span<const row_sums>(a.sums), std::span<policy_row>(a.rows),
                            std::span<row_factors>(a.factors));
    return a.factors[0].residual;
  };
  const double expected = factors_of(a.batch);
  REQUIRE(expected != 0);
  a.batch.y = {};
  CHECK(factors_of(a.batch) == expected);
}
