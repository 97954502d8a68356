// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// One ratio for all trained steps of a sample, in place of one for each:
//
//   GSPO   r = exp(mean_t log r_t), then the clipped surrogate
//   GMPO   r = exp(mean_t clip(log r_t)), the clip on the side that the advantage pulls to; L = -A r
//
// A step's slope depends on the others', so these are objectives of a whole batch: policy_sums, policy_scores,
// policy_gradient (ops/policy_sums.hpp). Every step of a sample counts with its sample's loss, so that losses are means
// over rows as those of clipped_grpo.
// Source: GSPO, arXiv 2507.18071, eqs. 5 and 7; GMPO, arXiv 2507.20673, eq. 4.

#include <algorithm>
#include <cstdint>
#include <span>
#include <unordered_map>

#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/row_objective.hpp"

namespace tempflow {

/// How the ratios of a sample's steps become one.
enum class sequence_ratio {
  mean,            ///< of the log-ratios, clipped as a ratio: GSPO
  mean_of_clipped  ///< of log-ratios that are each clipped: GMPO
};

/// GSPO and GMPO, a batch_objective. All steps of a sample are rows of one batch, and share their advantage;
/// weights of steps multiply its loss there.
struct sequence_grpo {
  static constexpr row_needs needs{.zeros = true};

  std::span<const std::int64_t> sequences = {};  ///< the sample of each row; any numbers
  clip_range clip = {};                          ///< of the ratio; for mean_of_clipped, of each log-ratio
  sequence_ratio ratio = sequence_ratio::mean;
  double advantage_clip = 5;  ///< advantages are clamped to +-this
  double kl_beta = 0;         ///< weight of the KL; 0 needs no reference velocity
  kl_denominator kl_over = kl_denominator::transition_variance;

  /// Throws shape_error unless each row has a sequence.
  void operator()(std::span<const scored_row> rows, std::span<row_loss> answers) const {
    if (sequences.size() != rows.size()) {
      throw shape_error(detail::message("sequence_grpo: sequences has ", sequences.size(),
                                        " entries, expected ", rows.size()));
    }
    struct sample {
      double log_ratio = 0, slopes = 0, steps = 0;
    };
    std::unordered_map<std::int64_t, sample> samples;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      sample& of_row = samples[sequences[i]];
      of_row.log_ratio += used(rows[i]), ++of_row.steps;
    }
    const clipped_grpo surrogate_of{.clip = ratio == sequence_ratio::mean ? clip : unclipped,
                                    .advantage_clip = advantage_clip};
    for (std::size_t i = 0; i < rows.size(); ++i) {
      sample& of_row = samples[sequences[i]];
      const surrogate answer =
          rows[i].advantage * rows[i].weight == 0
              ? surrogate{}  // whatever the ratio
              : surrogate_of(of_row.log_ratio / of_row.steps, rows[i].advantage, rows[i].weight);
      answers[i] = {answer.loss, {}, answer.below, answer.above};
      of_row.slopes += answer.slope;
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const sample& of_row = samples[sequences[i]];
      const bool below = (rows[i].log_ratio < -clip.low), above = (rows[i].log_ratio > clip.high);
      const bool stops = ratio == sequence_ratio::mean_of_clipped && used(rows[i]) != rows[i].log_ratio;
      answers[i].slope.log_ratio = stops ? 0 : of_row.slopes / of_row.steps;
      if (ratio == sequence_ratio::mean_of_clipped) answers[i].below = below, answers[i].above = above;
    }
  }

  /// Throws value_error for bounds that are negative or not finite.
  void validate() const {
    clipped_grpo{.clip = clip, .advantage_clip = advantage_clip, .kl_beta = kl_beta}.validate();
  }

 private:
  static constexpr clip_range unclipped{1, positive_infinity};

  /// A row's part in the log-ratio of its sample.
  double used(const scored_row& row) const {
    if (ratio == sequence_ratio::mean) return row.log_ratio;
    return row.advantage >= 0 ? (std::min)(row.log_ratio, clip.high) : (std::max)(row.log_ratio, -clip.low);
  }
};

}  // namespace tempflow
