// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Statistics of rows in a device's memory: the bits of the host's.

#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/test_device.hpp"
#include "tempflow/ops/summarize.hpp"

using tempflow::index_t;
using tempflow::policy_row;
using tempflow::policy_statistics;

namespace {

std::vector<policy_row> random_rows(index_t count, double share_broken = 0.1) {
  support::numbers source(static_cast<std::uint64_t>(count) + 1);
  std::vector<policy_row> rows(static_cast<std::size_t>(count));
  for (auto& row : rows) {
    row.log_ratio = source.next();
    row.ratio = std::exp(row.log_ratio);
    row.surrogate = 3 * source.next(), row.kl = source.next() * source.next();
    row.below = row.ratio < 0.9 ? 1 : 0, row.above = row.ratio > 1.1 ? 1 : 0;
    row.finite = source.next() < 2 * share_broken - 1 ? 0 : 1, row.underflowed = source.next() > 0.5 ? 1 : 0;
    if (row.finite == 0) row.surrogate = row.kl = std::numeric_limits<double>::quiet_NaN();
  }
  return rows;
}

/// Rows of nine doubles each, in the memory of a backend.
template <class B>
auto placed_rows(const B& backend, const std::vector<policy_row>& rows) {
  tempflow::batch_buffer<double> host(static_cast<index_t>(rows.size()), 9);
  std::memcpy(host.view().data(), rows.data(), rows.size() * sizeof(policy_row));
  return tempflow::from_host(backend, host.view());
}

}  // namespace

TEST_CASE("a device sums up rows with the bits of the host", "[device]") {
  const auto backend = support::make_test_device();
  for (const index_t count : {1, 5, 31, 32, 33, 1000}) {
    for (const double share_broken : {0.0, 0.1}) {
      INFO(count << " rows");
      const auto rows = random_rows(count, share_broken);
      auto on_device = placed_rows(backend, rows);
      const std::span<const policy_row> device_rows(
          reinterpret_cast<const policy_row*>(on_device.view().data()), rows.size());
      policy_statistics total;
      tempflow::summarize(backend, device_rows, 0.3, 77, total);
      const auto expected = tempflow::summarize(rows, 0.3, 77);
      CHECK(total.rows == count);
      CHECK(total.non_finite_rows == expected.non_finite_rows);
      CHECK(total.underflowed_rows == expected.underflowed_rows);
      for (double policy_statistics::*const number :
           {&policy_statistics::loss, &policy_statistics::surrogate, &policy_statistics::kl,
            &policy_statistics::approx_kl, &policy_statistics::ratio_mean, &policy_statistics::ratio_min,
            &policy_statistics::ratio_max, &policy_statistics::fraction_below,
            &policy_statistics::fraction_above, &policy_statistics::max_abs_log_ratio}) {
        const double a = total.*number, b = expected.*number;
        CHECK((tempflow::same_bits(a, b) || (share_broken > 0 && std::isnan(a) && std::isnan(b))));
      }
    }
  }
}

TEST_CASE("what a device cannot sum up is an error", "[device]") {
  const auto backend = support::make_test_device();
  policy_statistics total;
  total.loss = -77;
  const auto rows = random_rows(3);
  auto on_device = placed_rows(backend, rows);
  const std::span<const policy_row> device_rows(reinterpret_cast<const policy_row*>(on_device.view().data()),
                                                3);
  CHECK_THROWS_AS(tempflow::summarize(backend, device_rows, 0, 0, total), tempflow::value_error);
  CHECK_THROWS_AS(tempflow::summarize(backend, device_rows, tempflow::not_a_number, 1, total),
                  tempflow::value_error);
  CHECK_THROWS_AS(tempflow::summarize(backend, rows, 0, 1, total), tempflow::memory_error);
  CHECK(total.loss == -77);
}
