// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Drift by step of the chain, and the weights that correct for it: from their formulas.

#include "tempflow/objective/drift.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/rollout_correction.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::corrected_weights;
using tempflow::drift_by_step;
using tempflow::index_t;
using tempflow::policy_row;
using tempflow::ratio_band;
using tempflow::ratio_of;
using tempflow::shape_error;
using tempflow::step_drift;
using tempflow::total_drift;
using tempflow::value_error;
using tempflow::weights_of_rows;

using numbers = std::vector<double>;
using list = std::vector<index_t>;
using ids = std::vector<std::int64_t>;

namespace {

struct some_rows {
  std::vector<policy_row> rows;
  list steps;
};

/// Rows of steps 0 to 4 in no order, clipped at 0.05.
some_rows rows_of(std::size_t count) {
  support::numbers source(61);
  const tempflow::clipped_grpo objective{.clip = {0.05, 0.1}};
  some_rows made;
  for (std::size_t i = 0; i < count; ++i) {
    const double log_ratio = 0.2 * source.next();
    const auto answer = objective(log_ratio, 1, 1);
    made.rows.push_back({.log_ratio = log_ratio,
                         .ratio = std::exp(log_ratio),
                         .below = answer.below ? 1.0 : 0.0,
                         .above = answer.above ? 1.0 : 0.0});
    made.steps.push_back(static_cast<index_t>(i * i % 5));
  }
  return made;
}

void check_step(const step_drift& found, const std::vector<policy_row>& rows) {
  double max_abs = 0, abs = 0, k1 = 0, k2 = 0, k3 = 0, ratios = 0, squares = 0, below = 0, above = 0;
  const double n = static_cast<double>(rows.size());
  for (const policy_row& row : rows) {
    const double l = row.log_ratio, r = std::exp(l);
    max_abs = std::max(max_abs, std::abs(l));
    abs += std::abs(l) / n, k1 -= l / n, k2 += l * l / 2 / n, k3 += (r - 1 - l) / n;
    ratios += r, squares += r * r;
    below += (r < 0.95 ? 1 : 0) / n, above += (r > 1.1 ? 1 : 0) / n;
  }
  CHECK(found.rows == static_cast<index_t>(rows.size()));
  CHECK(found.max_abs == max_abs);
  CHECK(found.mean_abs() == Approx(abs).epsilon(1e-13));
  CHECK(found.k1() == Approx(k1).epsilon(1e-12).margin(1e-15));
  CHECK(found.k2() == Approx(k2).epsilon(1e-12));
  CHECK(found.k3() == Approx(k3).epsilon(1e-10));  // the textbook's differences are rounded at 1
  CHECK(found.effective_share() == Approx(ratios * ratios / squares / n).epsilon(1e-13));
  CHECK(found.fraction_below() == Approx(below).margin(1e-15));
  CHECK(found.fraction_above() == Approx(above).margin(1e-15));
}

void check_same_numbers(const step_drift& a, const step_drift& b) {
  CHECK(a.rows == b.rows);
  CHECK(a.max_abs == b.max_abs);
  CHECK(a.mean_abs() == Approx(b.mean_abs()).epsilon(1e-13));
  CHECK(a.k1() == Approx(b.k1()).epsilon(1e-12).margin(1e-15));
  CHECK(a.k3() == Approx(b.k3()).epsilon(1e-12));
  CHECK(a.effective_share() == Approx(b.effective_share()).epsilon(1e-13));
  CHECK(a.fraction_below() == Approx(b.fraction_below()));
}

}  // namespace

TEST_CASE("drift of each step and of all are those of the formulas", "[drift]") {
  const auto [rows, steps] = rows_of(60);
  const auto drift = drift_by_step(rows, steps, 6);
  REQUIRE(drift.size() == 6);
  for (index_t step = 0; step < 6; ++step) {
    std::vector<policy_row> own;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (steps[i] == step) own.push_back(rows[i]);
    }
    if (own.empty()) continue;
    check_step(drift[static_cast<std::size_t>(step)], own);
  }
  check_step(total_drift(drift), rows);
  CHECK((drift[2].rows == 0 && drift[2].mean_abs() == 0 && drift[2].effective_share() == 0));
}

TEST_CASE("on policy there is no drift, exactly", "[drift]") {
  const auto drift = drift_by_step(numbers(7, 0.0), list(7, 1), 2)[1];
  CHECK((drift.rows == 7 && drift.max_abs == 0 && drift.mean_abs() == 0));
  CHECK((drift.k1() == 0 && drift.k2() == 0 && drift.k3() == 0));
  CHECK(drift.effective_share() == 1);
}

TEST_CASE("drift is summed up by the summary's words", "[drift]") {
  const auto [rows, steps] = rows_of(60);
  const auto all = total_drift(drift_by_step(rows, steps, 5));
  const auto summary = tempflow::summarize(rows, 0, 60);
  CHECK(all.k2() == Approx(summary.approx_kl).epsilon(1e-13));
  CHECK(all.max_abs == summary.max_abs_log_ratio);
  CHECK(all.fraction_below() == Approx(summary.fraction_below));
  CHECK(all.fraction_above() == Approx(summary.fraction_above));
}

TEST_CASE("batches join to the drift of all their rows", "[drift]") {
  const auto [rows, steps] = rows_of(60);
  const auto whole = drift_by_step(rows, steps, 5);
  for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, std::size_t{23}, std::size_t{60}}) {
    auto joined = drift_by_step(std::span(rows).first(cut), std::span(steps).first(cut), 5);
    tempflow::join_drift(joined,
                         drift_by_step(std::span(rows).subspan(cut), std::span(steps).subspan(cut), 5));
    for (std::size_t step = 0; step < 5; ++step) {
      if (whole[step].rows > 0) check_same_numbers(joined[step], whole[step]);
    }
  }
  auto five = whole;
  CHECK_THROWS_MATCHES(tempflow::join_drift(five, std::span(whole).first(4)), shape_error,
                       MessageMatches(ContainsSubstring("5") && ContainsSubstring("4")));
}

TEST_CASE("the effective share of ratios that overflow is still theirs", "[drift]") {
  // Ratios e^800, e^800 and next to nothing: two of three count.
  CHECK(drift_by_step(numbers{800, -800, 800}, list(3), 1)[0].effective_share() == Approx(2.0 / 3));
  // One of four outweighs all.
  CHECK(drift_by_step(numbers{0, 900, 0, 0}, list(4), 1)[0].effective_share() == Approx(0.25));
}

TEST_CASE("rows that are not finite are counted, and left out of all else", "[drift]") {
  std::vector<policy_row> rows(4);
  rows[0].log_ratio = 0.5;
  rows[1].log_ratio = std::nan("");
  rows[2].log_ratio = 3, rows[2].finite = 0;
  rows[3].log_ratio = -0.5;
  const auto drift = drift_by_step(rows, list{0, 0, 0, 0}, 1)[0];
  CHECK((drift.rows == 4 && drift.non_finite_rows == 2 && drift.finite_rows() == 2));
  CHECK((drift.max_abs == 0.5 && drift.mean_abs() == 0.5 && drift.k1() == 0));
  const auto none = drift_by_step(numbers{std::nan("")}, list{0}, 1)[0];
  CHECK((none.rows == 1 && none.finite_rows() == 0 && none.effective_share() == 0));
  step_drift joined = none;
  joined += drift;
  CHECK((joined.rows == 5 && joined.effective_share() == Approx(drift.effective_share())));
}

TEST_CASE("steps that a chain has not are errors that name them", "[drift][bad_input]") {
  const std::vector<policy_row> rows(2);
  CHECK_THROWS_MATCHES(drift_by_step(rows, list{0}, 3), shape_error,
                       MessageMatches(ContainsSubstring("2 rows")));
  CHECK_THROWS_MATCHES(drift_by_step(rows, list{0, 3}, 3), value_error,
                       MessageMatches(ContainsSubstring("steps[1] = 3")));
  CHECK_THROWS_AS(drift_by_step(numbers{0, 0}, list{-1, 0}, 3), value_error);
  CHECK_THROWS_AS(tempflow::moments_by_step(numbers{0, 0}, list{0}, 3), shape_error);
  CHECK_THROWS_MATCHES(tempflow::moments_by_step(numbers{0, std::nan("")}, list{0, 2}, 3), value_error,
                       MessageMatches(ContainsSubstring("numbers[1] = nan") && ContainsSubstring("step 2")));
}

TEST_CASE("rewards vary by step, and projections tell a step's signal from its noise", "[drift]") {
  const auto spread = tempflow::moments_by_step(numbers{1, 5, 3, 7, 2}, list{0, 2, 0, 2, 0}, 3);
  CHECK(
      (spread[0].count == 3 && spread[0].mean == Approx(2) && spread[0].std() == Approx(std::sqrt(2.0 / 3))));
  CHECK(spread[1].count == 0);
  CHECK(spread[2].std(1) == Approx(std::sqrt(2.0)));
  CHECK(spread[2].signal_to_noise() == Approx(6 / std::sqrt(2.0)));
}

TEST_CASE("importance weights are ratios up to c", "[correction]") {
  const numbers log_ratios{0, std::log(1.5), std::log(2.5), -1, 800};
  const auto found = corrected_weights(log_ratios, {});
  CHECK(found.weights == numbers{1, std::exp(std::log(1.5)), 2, std::exp(-1.0), 2});
  CHECK((found.truncated == 2 && found.rejected == 0));
}

TEST_CASE("ratios outside the band are rejected, its ends are not", "[correction]") {
  const numbers log_ratios{std::log(0.4), 0, std::log(1.5), std::log(3.0)};
  const auto weighted = corrected_weights(log_ratios, {.truncate = 1.2, .keep = ratio_band{0.5, 2}});
  CHECK(weighted.weights == numbers{0, 1, 1.2, 0});
  CHECK((weighted.truncated == 1 && weighted.rejected == 2));
  const auto rejected = corrected_weights(log_ratios, {.truncate = {}, .keep = ratio_band{0.5, 2}});
  CHECK(rejected.weights == numbers{0, 1, 1, 0});
  CHECK((rejected.truncated == 0 && rejected.rejected == 2));
  CHECK(corrected_weights(numbers{0, 0}, {.truncate = {}, .keep = ratio_band{1, 1}}).rejected == 0);
}

TEST_CASE("a sequence's rows share the product of their ratios, or its geometric mean", "[correction]") {
  const numbers log_ratios{0.1, 0.5, 0.2, -0.4, 0.3};
  const ids sequences{8, -1, 8, -1, 8};
  const auto product =
      corrected_weights(log_ratios, {.truncate = 1.5, .ratios = ratio_of::sequences}, sequences);
  const auto mean =
      corrected_weights(log_ratios, {.truncate = 1.5, .ratios = ratio_of::sequences_mean}, sequences);
  for (const std::size_t i : {0u, 2u, 4u}) {
    CHECK(product.weights[i] == 1.5);  // of e^0.6
    CHECK(mean.weights[i] == Approx(std::exp(0.2)));
  }
  for (const std::size_t i : {1u, 3u}) {
    CHECK(product.weights[i] == Approx(std::exp(0.1)));
    CHECK(mean.weights[i] == Approx(std::exp(0.05)));
  }
  CHECK((product.truncated == 3 && mean.truncated == 0));
  const auto banded = corrected_weights(
      log_ratios, {.truncate = {}, .keep = ratio_band{0.9, 1.1}, .ratios = ratio_of::sequences_mean},
      sequences);
  CHECK(banded.weights == numbers{0, 1, 0, 1, 0});
  CHECK(banded.rejected == 3);
}

TEST_CASE("a batch's weights take the corrections of its rows", "[correction]") {
  const numbers corrections{1, 0.5, 0, 2}, weights{3, 4};
  CHECK(weights_of_rows(weights, corrections, list{3, 1}) == numbers{6, 2});
  CHECK(weights_of_rows(0.5, corrections, list{3, 2, 0}) == numbers{1, 0, 0.5});
  CHECK_THROWS_AS(weights_of_rows(weights, corrections, list{3}), shape_error);
  CHECK_THROWS_MATCHES(weights_of_rows(weights, corrections, list{0, 4}), value_error,
                       MessageMatches(ContainsSubstring("row 4")));
  CHECK_THROWS_AS(weights_of_rows(weights, corrections, list{-1, 0}), value_error);
}

TEST_CASE("corrections that make no sense are errors that name their numbers", "[correction][bad_input]") {
  const numbers log_ratios{0, 0.1};
  for (const double c : {0.0, -1.0, tempflow::positive_infinity}) {
    CHECK_THROWS_MATCHES(corrected_weights(log_ratios, {.truncate = c}), value_error,
                         MessageMatches(ContainsSubstring("truncate = ")));
  }
  for (const ratio_band band : {ratio_band{2, 1}, ratio_band{-1, 1}, ratio_band{0, std::nan("")}}) {
    CHECK_THROWS_MATCHES(corrected_weights(log_ratios, {.keep = band}), value_error,
                         MessageMatches(ContainsSubstring("keep = [")));
  }
  CHECK_NOTHROW(corrected_weights(log_ratios, {.keep = ratio_band{0, tempflow::positive_infinity}}));
  CHECK_THROWS_MATCHES(corrected_weights(numbers{0, std::nan("")}, {}), value_error,
                       MessageMatches(ContainsSubstring("log_ratios[1] = nan")));
  CHECK_THROWS_MATCHES(corrected_weights(log_ratios, {.ratios = ratio_of::sequences}, ids{1}), shape_error,
                       MessageMatches(ContainsSubstring("sequences has 1")));
}
