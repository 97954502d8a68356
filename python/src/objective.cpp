// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Operators on the numbers of rows alone, on the host: the objective, and a batch's statistics.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "policy_rows.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tensors.hpp"

namespace tempflow::python {
namespace {

/// The objective alone, of log-probs that are at hand: each row's loss, and its derivative with respect to the log-prob.
std::tuple<Tensor, Tensor> clipped_surrogate(const Tensor& log_probs, const Tensor& old_log_probs,
                                             const Tensor& advantages, const Tensor& weights, double clip_low,
                                             double clip_high, double advantage_clip) {
  return typed([&] {
    constexpr auto operation = "clipped_surrogate";
    const table<double> now(operation, "log_probs", log_probs),
        old(operation, "old_log_probs", old_log_probs), gains(operation, "advantages", advantages),
        weighted(operation, "weights", weights);
    const clipped_grpo objective{.clip = {clip_low, clip_high}, .advantage_clip = advantage_clip};
    objective.validate();
    const std::size_t count = now.values().size();
    for (const auto& [name, values] :
         {std::pair("old_log_probs", old.values()), std::pair("advantages", gains.values()),
          std::pair("weights", weighted.values())}) {
      detail::check_size(operation, name, values.size(), static_cast<index_t>(count));
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (weighted.values()[i] < 0) {
        throw value_error(detail::message(operation, ": weights[", i, "] = ", weighted.values()[i],
                                          ", must not be negative"));
      }
    }
    std::vector<double> losses(count), slopes(count);
    for (std::size_t i = 0; i < count; ++i) {
      const surrogate row =
          objective(now.values()[i] - old.values()[i], gains.values()[i], weighted.values()[i]);
      losses[i] = row.loss, slopes[i] = is_finite(row.loss) ? row.slope : row.loss;
    }
    return std::tuple(table_of(losses), table_of(slopes));
  });
}

/// The fields of policy_statistics, in order: thirteen numbers.
Tensor policy_statistics_of(const Tensor& rows, double kl_beta, double mean_over) {
  return typed([&] {
    const table<double> numbers("policy_statistics", "rows", rows, row_numbers);
    const policy_statistics s = summarize(
        {reinterpret_cast<const policy_row*>(numbers.values().data()), numbers.values().size() / row_numbers},
        kl_beta, mean_over);
    return table_of<double>({static_cast<double>(s.rows), s.loss, s.surrogate, s.kl, s.approx_kl,
                             s.ratio_mean, s.ratio_min, s.ratio_max, s.fraction_below, s.fraction_above,
                             s.max_abs_log_ratio, static_cast<double>(s.non_finite_rows),
                             static_cast<double>(s.underflowed_rows)});
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, CPU, m) {
  m.impl("clipped_surrogate", TORCH_BOX(&tempflow::python::clipped_surrogate));
  m.impl("policy_statistics", TORCH_BOX(&tempflow::python::policy_statistics_of));
}
