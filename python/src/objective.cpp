// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Operators on the numbers of rows alone, on the host: the objective, and a batch's statistics.

#include <torch/csrc/stable/library.h>

#include <array>
#include <tuple>

#include "convention.hpp"
#include "parameters.hpp"
#include "policy_rows.hpp"
#include "tables.hpp"
#include "tempflow/ops/policy_scores.hpp"

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

/// What a batch objective compares: the sample of each row, or pairs of rows.
class row_relation {
 public:
  row_relation(std::string_view operation, const std::optional<Tensor>& sequences,
               const std::optional<Tensor>& pairs) {
    if (sequences) sequences_.emplace(operation, "sequences", *sequences);
    if (!pairs) return;
    const table<std::int64_t> rows(operation, "pairs", *pairs, 2);
    for (std::size_t at = 0; at < rows.values().size(); at += 2)
      pairs_.push_back({as_indices(rows.values())[at], as_indices(rows.values())[at + 1]});
  }

  template <class Objective>
  Objective in(Objective of) const {
    if constexpr (std::is_same_v<Objective, sequence_grpo>) {
      if (sequences_) of.sequences = sequences_->values();
    } else if constexpr (std::is_same_v<Objective, preference_pairs>) {
      of.pairs = pairs_;
    }
    return of;
  }

 private:
  std::optional<table<std::int64_t>> sequences_;
  std::vector<std::array<index_t, 2>> pairs_;
};

/// policy_rows and factors of each row from its sums.
std::tuple<Tensor, Tensor> policy_scores(const Tensor& sums, const Tensor& transitions,
                                         std::optional<Tensor> offsets, std::optional<Tensor> old_log_probs,
                                         std::optional<Tensor> advantages, const Tensor& weights,
                                         std::optional<Tensor> sequences, std::optional<Tensor> pairs,
                                         std::string objective, std::vector<double> numbers,
                                         std::vector<std::string> choices, std::string reduction,
                                         std::string terms, std::int64_t mean_over) {
  return typed([&] {
    constexpr auto operation = "policy_scores";
    const table<double> given(operation, "sums", sums, sum_numbers);
    const std::span of_rows(reinterpret_cast<const row_sums*>(given.values().data()),
                            given.values().size() / sum_numbers);
    const transition_table steps(operation, "transitions", transitions);
    const offset_table cuts(operation, offsets);
    const table<double> weighted(operation, "weights", weights);
    std::optional<table<double>> old, gains;
    if (old_log_probs) old.emplace(operation, "old_log_probs", *old_log_probs);
    if (advantages) gains.emplace(operation, "advantages", *advantages);
    const row_relation relation(operation, sequences, pairs);
    policy_batch<float> batch;  // so that factors beyond fp32 leave their rows out
    batch.transitions = steps;
    batch.offsets = cuts;
    if (old) batch.old_log_probs = old->values();
    if (gains) batch.advantages = gains->values();
    batch.weights = weighted.values();
    batch.convention = convention_of(operation, reduction, terms);
    batch.mean_over = mean_over > 0 ? mean_over : static_cast<index_t>(of_rows.size());
    std::vector<policy_row> rows(of_rows.size());
    std::vector<row_factors> factors(of_rows.size());
    with_any_objective(operation, objective, [&](const auto& of) {
      tempflow::policy_scores(batch, relation.in(with_parameters(operation, of, numbers, choices)), of_rows,
                              std::span(rows), std::span(factors));
    });
    const auto tensor_of = [](const auto& entries, index_t columns) {
      const auto* const first = reinterpret_cast<const double*>(entries.data());
      return table_of(std::vector<double>(first, first + static_cast<index_t>(entries.size()) * columns),
                      columns);
    };
    return std::tuple(tensor_of(rows, row_numbers), tensor_of(factors, factor_numbers));
  });
}

/// Parameters of an objective, in order, as the library sets them.
std::string objective_defaults(std::string objective) {
  return typed([&] {
    json_object json;
    with_any_objective("objective_defaults", objective, [&](auto of) {
      each_parameter(of, [&]<class Member>(std::string_view name, const Member& member) {
        if constexpr (std::is_same_v<Member, double>) {
          json.add(name, member);
        } else if constexpr (std::is_same_v<Member, clip_range>) {
          json.add(name, std::vector<double>{member.low, member.high});
        } else {
          for (const auto& [word, value] : words<Member>::entries) {
            if (value == member) json.add(name, word);
          }
        }
      });
    });
    return json.text();
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
  m.impl("policy_scores", TORCH_BOX(&tempflow::python::policy_scores));
  m.impl("policy_statistics", TORCH_BOX(&tempflow::python::policy_statistics_of));
}

STABLE_TORCH_LIBRARY_IMPL(tempflow, CompositeExplicitAutograd, m) {
  m.impl("objective_defaults", TORCH_BOX(&tempflow::python::objective_defaults));
}
