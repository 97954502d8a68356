// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Statistics of a policy update: the summary of rows, and joining the summaries of batches.

#include "tempflow/objective/policy_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "tempflow/core/numeric.hpp"

using tempflow::policy_row;
using tempflow::policy_statistics;

namespace {

std::vector<policy_row> random_rows(std::size_t count) {
  support::numbers source(5);
  std::vector<policy_row> rows;
  for (std::size_t i = 0; i < count; ++i) {
    policy_row row{.log_prob = source.next(), .log_ratio = 0.1 * source.next(), .surrogate = source.next()};
    row.ratio = std::exp(row.log_ratio);
    row.kl = std::abs(source.next());
    row.below = row.ratio < 0.97;
    row.above = row.ratio > 1.05;
    row.finite = i % 7 != 3;
    rows.push_back(row);
  }
  return rows;
}

void check_equal(const policy_statistics& a, const policy_statistics& b) {
  CHECK(a.rows == b.rows);
  CHECK(a.loss == Approx(b.loss).epsilon(1e-12));
  CHECK(a.surrogate == Approx(b.surrogate).epsilon(1e-12));
  CHECK(a.kl == Approx(b.kl).epsilon(1e-12));
  CHECK(a.approx_kl == Approx(b.approx_kl).epsilon(1e-12));
  CHECK(a.ratio_mean == Approx(b.ratio_mean).epsilon(1e-12));
  CHECK(a.ratio_min == b.ratio_min);
  CHECK(a.ratio_max == b.ratio_max);
  CHECK(a.fraction_below == Approx(b.fraction_below).epsilon(1e-12));
  CHECK(a.fraction_above == Approx(b.fraction_above).epsilon(1e-12));
  CHECK(a.max_abs_log_ratio == b.max_abs_log_ratio);
  CHECK(a.non_finite_rows == b.non_finite_rows);
}

}  // namespace

TEST_CASE("a summary sums the losses of all rows and averages the finite ones", "[statistics]") {
  const std::vector<policy_row> rows{
      {.log_prob = -1, .log_ratio = 0.5, .ratio = 2, .surrogate = 3, .kl = 0.25, .above = true},
      {.log_prob = -2, .log_ratio = -1, .ratio = 0.5, .surrogate = -1, .kl = 0.75, .below = true},
      {.log_prob = -3, .log_ratio = 0, .ratio = 1, .surrogate = 2, .kl = 0.5, .finite = false},
      {.log_prob = -3, .log_ratio = 0, .ratio = 1, .surrogate = 0, .kl = 0.5, .above = true}};
  const auto total = tempflow::summarize(rows, 0.1, 8);
  CHECK(total.rows == 4);
  CHECK(total.surrogate == Approx(4.0 / 8));
  CHECK(total.loss == Approx((4.0 + 0.1 * 2) / 8));
  CHECK(total.kl == Approx(0.5));
  CHECK(total.finite_rows() == 3);
  CHECK(total.approx_kl == Approx((0.5 * 0.25 + 0.5 * 1) / 3));
  CHECK(total.ratio_mean == Approx(3.5 / 3));
  CHECK(total.ratio_min == 0.5);
  CHECK(total.ratio_max == 2);
  CHECK(total.fraction_below == Approx(1.0 / 3));
  CHECK(total.fraction_above == Approx(2.0 / 3));
  CHECK(total.clip_fraction() == Approx(1.0));
  CHECK(total.max_abs_log_ratio == 1);
  CHECK(total.non_finite_rows == 1);
}

TEST_CASE("rows that are not finite change no mean", "[statistics]") {
  const auto rows = random_rows(20);
  std::vector<policy_row> finite;
  for (const auto& row : rows) {
    if (row.finite) finite.push_back(row);
  }
  const auto total = tempflow::summarize(rows, 0.3, 20), without = tempflow::summarize(finite, 0.3, 20);
  CHECK(total.non_finite_rows == 3);
  CHECK(total.finite_rows() == without.rows);
  CHECK(total.kl == Approx(without.kl).epsilon(1e-14));  // in other lanes
  CHECK(total.approx_kl == Approx(without.approx_kl).epsilon(1e-14));
  CHECK(total.ratio_mean == Approx(without.ratio_mean).epsilon(1e-14));
  CHECK(total.ratio_min == without.ratio_min);
  CHECK(total.ratio_max == without.ratio_max);
  CHECK(total.clip_fraction() == without.clip_fraction());
  CHECK(total.max_abs_log_ratio == without.max_abs_log_ratio);
}

TEST_CASE("a batch without a finite row adds to counts and losses of a joined summary alone",
          "[statistics]") {
  auto broken = random_rows(1);
  broken[0].finite = false;
  const auto rows = random_rows(3);  // all finite
  auto right = tempflow::summarize(rows, 0, 4), left = tempflow::summarize(broken, 0, 4);
  const auto good = right, bad = left;
  right += bad;
  left += good;
  for (const auto& joined : {right, left}) {
    CHECK(joined.rows == 4);
    CHECK(joined.non_finite_rows == 1);
    CHECK(joined.ratio_mean == Approx(good.ratio_mean).epsilon(1e-14));
    CHECK(joined.ratio_min == good.ratio_min);
    CHECK(joined.ratio_max == good.ratio_max);
    CHECK(joined.kl == Approx(good.kl).epsilon(1e-14));
    CHECK(joined.loss == Approx(good.loss + bad.loss).epsilon(1e-14));
  }
}

TEST_CASE("no rows have an empty summary", "[statistics]") {
  const auto total = tempflow::summarize({}, 0.1, 8);
  CHECK(total.rows == 0);
  CHECK(total.loss == 0);
  CHECK(total.clip_fraction() == 0);
}

TEST_CASE("joined summaries of batches are the summary of all their rows", "[statistics]") {
  const auto rows = random_rows(101);
  const std::span<const policy_row> all = rows;
  const auto expected = tempflow::summarize(all, 0.3, 101);
  for (const std::size_t size : {1u, 7u, 50u, 101u}) {
    policy_statistics joined;
    for (std::size_t first = 0; first < rows.size(); first += size) {
      joined += tempflow::summarize(all.subspan(first, std::min(size, rows.size() - first)), 0.3, 101);
    }
    INFO("batches of " << size);
    check_equal(joined, expected);
  }
}

TEST_CASE("joining an empty summary changes nothing", "[statistics]") {
  const auto rows = random_rows(10);
  const auto expected = tempflow::summarize(rows, 0.3, 10);
  policy_statistics right = expected, left;
  right += policy_statistics{};
  left += expected;
  check_equal(right, expected);
  check_equal(left, expected);
}

TEST_CASE("a NaN in a dropped row shows in the losses, and leaves the means alone", "[statistics]") {
  auto rows = random_rows(5);
  rows[3].surrogate = rows[3].ratio = rows[3].log_ratio = rows[3].kl =
      std::numeric_limits<double>::quiet_NaN();
  REQUIRE_FALSE(rows[3].finite);
  const auto total = tempflow::summarize(rows, 0.5, 5);
  CHECK_FALSE(tempflow::is_finite(total.loss));
  CHECK_FALSE(tempflow::is_finite(total.surrogate));
  CHECK(tempflow::is_finite(total.ratio_mean));
  CHECK(tempflow::is_finite(total.kl));
}
