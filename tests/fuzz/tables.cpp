// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Tables of numbers from a host: offsets of siblings, sums of rows, parts, groups and rewards. A typed error, or numbers
// that say what they are.

#include <cmath>
#include <vector>

#include "fuzz/input.hpp"
#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/advantage/win_rates.hpp"
#include "tempflow/core/sample_parts.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/ops/policy_scores.hpp"

namespace tf = tempflow;

namespace {

std::vector<double> numbers_of(fuzz::input& in, int count) {
  std::vector<double> numbers;
  for (; count > 0; --count) numbers.push_back(in.number());
  return numbers;
}

void check_scores(fuzz::input& in) {
  const int rows = in.choose(5);
  std::vector<tf::index_t> offsets;
  for (int count = in.choose(6); count > 0; --count) offsets.push_back(in.integer());
  std::vector<tf::row_sums> sums(static_cast<std::size_t>(rows));
  for (tf::row_sums& of : sums) {
    of.elements = in.number() * 8;
    of.residual = std::abs(in.number()), of.reference = in.number(), of.residual_reference = in.number();
    of.old = in.number(), of.residual_old = in.number();
  }
  const auto old = numbers_of(in, rows), advantages = numbers_of(in, rows), weights = numbers_of(in, rows);
  tf::policy_batch<float> batch{
      .x = {},
      .y = {},
      .offsets = offsets,
      .transitions = tf::transition{in.number(), in.number(), in.number(), 1, 0, 1, in.number()},
      .old_log_probs = old,
      .advantages = advantages,
      .weights = weights};
  batch.mean_over = in.integer(), batch.gradient_scale = in.number();
  std::vector<tf::policy_row> answers(sums.size());
  std::vector<tf::row_factors> factors(sums.size());
  const auto check = [&](const auto& objective) {
    tf::policy_scores(batch, objective, std::span<const tf::row_sums>(sums),
                      std::span<tf::policy_row>(answers), std::span<tf::row_factors>(factors));
  };
  check(tf::clipped_grpo{.kl_beta = in.flip() ? in.number() : 0});
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const auto& [residual, reference, of_old] = factors[i];
    fuzz::require(tf::is_finite(static_cast<float>(residual)) &&
                      tf::is_finite(static_cast<float>(reference)) &&
                      tf::is_finite(static_cast<float>(of_old)),
                  "factors are finite in fp32");
    fuzz::require(
        answers[i].finite == 0 || (tf::is_finite(answers[i].surrogate) && tf::is_finite(answers[i].kl) &&
                                   tf::is_finite(answers[i].log_prob) && tf::is_finite(answers[i].log_ratio)),
        "a row that is finite has finite numbers");
  }
}

tf::advantage_options options_of(fuzz::input& in) {
  tf::advantage_options options;
  options.scale = static_cast<tf::advantage_scale>(in.choose(3));
  options.std = static_cast<tf::std_estimate>(in.choose(2));
  options.baseline = static_cast<tf::advantage_baseline>(in.choose(2));
  options.epsilon_as = static_cast<tf::epsilon_rule>(in.choose(2));
  options.not_finite = static_cast<tf::not_finite_rewards>(in.choose(2));
  if (in.flip())
    options.epsilon = in.number(), options.min_std = in.number(), options.group_size = in.integer();
  return options;
}

void check_advantages(fuzz::input& in) {
  const int count = in.choose(12);
  const auto rewards = numbers_of(in, count);
  std::vector<std::int64_t> groups;
  for (int i = 0; i < count; ++i) groups.push_back(in.flip() ? in.choose(3) : in.integer());
  const auto options = options_of(in);
  if (in.flip()) {
    const auto beats = [&](std::size_t i, std::size_t j) {
      return rewards[i] == rewards[j] ? 0.5 : rewards[i] / rewards[j];
    };
    for (const double rate : tf::win_rates(groups, beats))
      fuzz::require(rate >= 0 && rate <= 1, "rates are shares");
    return;
  }
  if (in.choose(8) == 0) groups.push_back(1);  // one too many
  const auto found = tf::group_advantages(rewards, groups, options);
  for (const double advantage : found.values)
    fuzz::require(tf::is_finite(advantage), "advantages are finite");
}

void check_parts(fuzz::input& in) {
  std::vector<tf::sample_part> pieces;
  for (int count = in.choose(5); count > 0; --count) pieces.push_back({in.integer(), in.integer()});
  const tf::index_t columns = in.integer();
  const tf::sample_parts parts(pieces, columns);
  tf::index_t end = 0;
  for (const auto [first, count] : parts) {
    fuzz::require(first >= end && count >= 1 && first + count <= columns, "parts are in a row, in order");
    end = first + count;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in(data, size);
  try {
    switch (in.choose(3)) {
      case 0: check_scores(in); break;
      case 1: check_advantages(in); break;
      default: check_parts(in);
    }
  } catch (const tf::error&) {
  }
  return 0;
}
