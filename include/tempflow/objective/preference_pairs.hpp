// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Diffusion-DPO for flow matching: of two finished samples of a prompt the better is made more likely than the worse,
// against a reference policy. With the flow-matching losses m and m_ref of a sample at the same t and z,
//
//   L = -log sigmoid(u),   u = beta / 2 [ (m_worse - m_ref_worse) - (m_better - m_ref_better) ]
//
// Batches have y = x0 and clean_transition, as for advantage_weighted_matching; m - m_ref comes from sums of r (v -
// v_ref) and (v - v_ref)^2, without a difference of large numbers. An objective of a whole batch: policy_sums,
// policy_scores, policy_gradient (ops/policy_sums.hpp). Source: Diffusion-DPO, arXiv 2311.12908, eq. 14; flow_grpo,
// scripts/train_sd3_dpo.py.

#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/objective/row_objective.hpp"

namespace tempflow {

/// The preference loss of Diffusion-DPO on flows, a batch_objective: needs v_ref, no old log-probs and no advantages.
struct preference_pairs {
  static constexpr row_needs needs{
      .ratio = false, .reference_velocity = true, .finished = true, .advantage = false, .zeros = true};

  std::span<const std::array<index_t, 2>> pairs = {};  ///< rows: better, worse; each row in one pair
  double beta = 2000;                                  ///< how far from the reference policy
  double kl_beta = 0;
  kl_denominator kl_over = kl_denominator::velocity;

  /// Each row of a pair has the loss of its pair, times the weight of the better. Throws shape_error for pairs that are
  /// not a pairing of the rows.
  void operator()(std::span<const scored_row> rows, std::span<row_loss> answers) const {
    check_pairs(rows.size());
    for (const auto& [better, worse] : pairs) {
      const scored_row& good = rows[static_cast<std::size_t>(better)];
      const scored_row& bad = rows[static_cast<std::size_t>(worse)];
      const double u = 0.5 * beta * (gain(good) - gain(bad));
      const double loss = u > 0 ? std::log1p(std::exp(-u)) : std::log1p(std::exp(u)) - u;
      const double slope = -2 * good.weight / (1 + std::exp(u));  // of both rows' losses
      const auto answer_of = [&](const scored_row& row, double by) {
        return row_loss{good.weight * loss,
                        {.reference = 0.5 * beta * by, .residual_reference = beta * by / row.step.beta}};
      };
      answers[static_cast<std::size_t>(better)] = answer_of(good, slope);
      answers[static_cast<std::size_t>(worse)] = answer_of(bad, -slope);
    }
  }

  /// Throws value_error for a beta that is not positive, or a weight of the KL that is negative.
  void validate() const {
    if (!is_finite(kl_beta) || kl_beta < 0)
      throw value_error(detail::message("preference_pairs: kl_beta = ", kl_beta, ", must not be negative"));
    if (!is_finite(beta) || beta <= 0)
      throw value_error(detail::message("preference_pairs: beta = ", beta, ", must be positive"));
  }

 private:
  /// m_ref - m of a sample.
  static double gain(const scored_row& row) {
    return fused_multiply_add(2 / row.step.beta, row.mean.residual_reference, row.mean.reference);
  }

  void check_pairs(std::size_t rows) const {
    std::vector<char> seen(rows);
    for (std::size_t p = 0; p < pairs.size(); ++p) {
      for (const index_t row : pairs[p]) {
        if (row < 0 || static_cast<std::size_t>(row) >= rows || seen[static_cast<std::size_t>(row)] != 0) {
          throw shape_error(detail::message("preference_pairs: pairs[", p, "] names row ", row, " of ", rows,
                                            ", which is no row or is in two pairs"));
        }
        seen[static_cast<std::size_t>(row)] = 1;
      }
    }
    if (2 * pairs.size() != rows) {
      throw shape_error(detail::message("preference_pairs: ", pairs.size(), " pairs for ", rows, " rows"));
    }
  }
};

}  // namespace tempflow
