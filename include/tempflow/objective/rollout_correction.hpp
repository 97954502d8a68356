// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Weights for samples of a policy that is not quite the one that is trained: another precision, another engine, older
// parameters. l = log p_old - log p_rollout of each row, where p_old is the training policy before the update:
//
//   weight = min(e^l, c), or 0 where e^l lies outside [low, high]
//
// They multiply the rows' weights, and no gradient flows through them. Rows of weight 0 still count in the mean
// (policy_batch::mean_over), so what is rejected makes a step smaller, not the rest louder.
//
//   const std::vector<double> sampled(rollout.log_probs().begin(), rollout.log_probs().end());
//   rescore(backend, model, batches);                       // log_probs() are p_old's from now on
//   ...                                                     // l = log_probs() - sampled
//   const auto corrected = corrected_weights(l, {});        // one per row of the rollout
//   for (auto batch : batches) {
//     const auto weights = weights_of_rows(batch.weights, corrected.weights, batch.rows);
//     batch.weights = weights;
//     policy_loss(backend, batch, ...);
//   }
//
// Sources: verl-omni, trainer/diffusion/rollout_correction.py; verl, docs/algo/rollout_corr_math.md; Ionides:
// "Truncated importance sampling", 2008.

#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/per_row.hpp"

namespace tempflow {

/// Whose ratio it is that weighs or rejects rows.
enum class ratio_of {
  rows,            ///< each row's own
  sequences,       ///< of a sequence of rows, a trajectory: the product of its rows' ratios, l summed
  sequences_mean,  ///< their geometric mean, l averaged (verl: seq_mean_k1)
};

/// Ratios that are kept, both ends included.
struct ratio_band {
  double low = 0.5;
  double high = 2;
};

/// How rows are weighted, or rejected, by their ratios. The defaults are verl's truncation; a band alone,
/// {.truncate = {}, .keep = ratio_band{}}, rejects and weights the rest by 1.
struct rollout_correction {
  std::optional<double> truncate = 2.0;  ///< c; without, weights are 1
  std::optional<ratio_band> keep = {};   ///< without, nothing is rejected
  ratio_of ratios = ratio_of::rows;
};

/// Weights, one per row, and what became of rows.
struct row_corrections {
  std::vector<double> weights = {};
  index_t truncated = 0;  ///< rows whose ratio was above c, and not rejected
  index_t rejected = 0;   ///< rows of weight 0
};

/// Weights of rows from their log-ratios. sequences: which sequence each row belongs to (the rows of a sample's
/// trajectory, say), any integers; needed for the ratios of sequences alone.
///
/// With mean-reduced log-probs ratios are near 1, and so must c and the band be.
///
/// Throws shape_error for another number of sequences than rows; value_error for a log-ratio that is not finite
/// (naming its row), a c that is not positive and finite, and a band that is not 0 <= low <= high.
inline row_corrections corrected_weights(std::span<const double> log_ratios,
                                         const rollout_correction& options,
                                         std::span<const std::int64_t> sequences = {}) {
  if (options.truncate && !(is_finite(*options.truncate) && *options.truncate > 0)) {
    throw value_error(detail::message("corrected_weights: truncate = ", *options.truncate,
                                      ", must be positive and finite"));
  }
  if (options.keep && !(options.keep->low >= 0 && options.keep->low <= options.keep->high)) {
    throw value_error(detail::message("corrected_weights: keep = [", options.keep->low, ", ",
                                      options.keep->high, "], must have 0 <= low <= high"));
  }
  const bool by_row = options.ratios == ratio_of::rows;
  if (!by_row && sequences.size() != log_ratios.size()) {
    throw shape_error(detail::message("corrected_weights: sequences has ", sequences.size(), " entries, of ",
                                      log_ratios.size(), " rows"));
  }
  for (std::size_t i = 0; i < log_ratios.size(); ++i) {
    if (!is_finite(log_ratios[i])) {
      throw value_error(
          detail::message("corrected_weights: log_ratios[", i, "] = ", log_ratios[i], ", must be finite"));
    }
  }
  struct sequence {
    double sum = 0, rows = 0;
  };
  std::map<std::int64_t, sequence> found;
  for (std::size_t i = 0; i < log_ratios.size() && !by_row; ++i) {
    found[sequences[i]].sum += log_ratios[i], found[sequences[i]].rows += 1;
  }
  row_corrections result;
  for (std::size_t i = 0; i < log_ratios.size(); ++i) {
    double log_ratio = log_ratios[i];
    if (!by_row) {
      const auto& [sum, rows] = found.at(sequences[i]);
      log_ratio = options.ratios == ratio_of::sequences ? sum : sum / rows;
    }
    const double ratio = std::exp(log_ratio);
    if (options.keep && (ratio < options.keep->low || ratio > options.keep->high)) {
      ++result.rejected;
      result.weights.push_back(0);
    } else if (!options.truncate) {
      result.weights.push_back(1);
    } else {
      if (ratio > *options.truncate) ++result.truncated;
      result.weights.push_back(ratio > *options.truncate ? *options.truncate : ratio);
    }
  }
  return result;
}

/// A batch's weights, times the corrections of its rows. weights: minibatch::weights; rows: minibatch::rows, places
/// among the corrections.
///
/// Throws shape_error for another number of weights than rows, value_error for a row that has no correction.
inline std::vector<double> weights_of_rows(const per_row<double>& weights,
                                           std::span<const double> corrections,
                                           std::span<const index_t> rows) {
  if (!weights.covers(static_cast<index_t>(rows.size()))) {
    throw shape_error(
        detail::message("weights_of_rows: ", weights.size(), " weights of ", rows.size(), " rows"));
  }
  std::vector<double> result;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= static_cast<index_t>(corrections.size())) {
      throw value_error(detail::message("weights_of_rows: row ", rows[i], " has none of ", corrections.size(),
                                        " corrections"));
    }
    result.push_back(weights[static_cast<index_t>(i)] * corrections[static_cast<std::size_t>(rows[i])]);
  }
  return result;
}

}  // namespace tempflow
