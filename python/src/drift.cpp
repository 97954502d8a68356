// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// How far a policy is from the one that drew the samples, and weights that make up for it; on the host.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "convention.hpp"
#include "policy_rows.hpp"
#include "tables.hpp"
#include "tempflow/objective/drift.hpp"
#include "tempflow/objective/rollout_correction.hpp"

namespace tempflow::python {
namespace {

/// Ten numbers of each step, and of all: rows, non_finite_rows, max_abs, mean_abs, k1, k2, k3, fraction_below,
/// fraction_above, effective_share.
Tensor drift_by_step(const Tensor& rows, const Tensor& steps, std::int64_t count) {
  return typed([&] {
    constexpr auto operation = "drift_by_step";
    if (count < 0 || count > 65536) throw value_error(detail::message(operation, ": count = ", count));
    const table<double> given(operation, "rows", rows, row_numbers);
    const table<std::int64_t> at(operation, "steps", steps);
    auto drift = tempflow::drift_by_step(
        {reinterpret_cast<const policy_row*>(given.values().data()), given.values().size() / row_numbers},
        as_indices(at.values()), count);
    drift.push_back(total_drift(drift));
    std::vector<double> numbers;
    for (const step_drift& of : drift) {
      numbers.insert(numbers.end(), {static_cast<double>(of.rows), static_cast<double>(of.non_finite_rows),
                                     of.max_abs, of.mean_abs(), of.k1(), of.k2(), of.k3(),
                                     of.fraction_below(), of.fraction_above(), of.effective_share()});
    }
    return table_of(numbers, 10);
  });
}

/// Weights, and how many were truncated and rejected.
std::tuple<Tensor, std::int64_t, std::int64_t> corrected_weights(
    const Tensor& log_ratios, std::optional<Tensor> sequences, std::optional<double> truncate,
    std::optional<double> keep_low, std::optional<double> keep_high, std::string ratios) {
  return typed([&] {
    constexpr auto operation = "corrected_weights";
    static constexpr std::pair<std::string_view, ratio_of> kinds[] = {
        {"rows", ratio_of::rows},
        {"sequences", ratio_of::sequences},
        {"sequences_mean", ratio_of::sequences_mean}};
    const table<double> given(operation, "log_ratios", log_ratios);
    std::optional<table<std::int64_t>> ids;
    if (sequences) ids.emplace(operation, "sequences", *sequences);
    const rollout_correction options{
        .truncate = truncate,
        .keep = keep_low && keep_high ? std::optional(ratio_band{*keep_low, *keep_high}) : std::nullopt,
        .ratios = choice(operation, "ratios", ratios, kinds)};
    const row_corrections found = tempflow::corrected_weights(
        given.values(), options, ids ? ids->values() : std::span<const std::int64_t>());
    return std::tuple(table_of(found.weights), std::int64_t{found.truncated}, std::int64_t{found.rejected});
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, CPU, m) {
  m.impl("drift_by_step", TORCH_BOX(&tempflow::python::drift_by_step));
  m.impl("corrected_weights", TORCH_BOX(&tempflow::python::corrected_weights));
}
