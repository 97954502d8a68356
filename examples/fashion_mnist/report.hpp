// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "evaluation.hpp"
#include "stopwatch.hpp"
#include "support/progress.hpp"

namespace fashion {

/// A row of metrics.csv: an evaluation, and the updates since the one before it.
struct metrics_row {
  std::int64_t update = 0;
  evaluation quality;
  double kl = 0;             ///< to the frozen model, mean over the updates
  double clip_fraction = 0;  ///< share of ratios outside the trust region
  double ratio_mean = 1;
  double zero_std_share = 0;           ///< share of groups that teach nothing
  std::int64_t model_evaluations = 0;  ///< rows given to the model by all rollouts so far
  std::int64_t model_calls = 0;
  std::int64_t trained_states = 0;  ///< rows of the forward and backward passes so far
  std::int64_t scored = 0;          ///< samples given to the reward so far
  double seconds = 0;               ///< of updates and evaluations
  double cpu_seconds = 0;           ///< of updates, all threads together

  /// So far, in forward passes: a backward pass counts as two.
  std::int64_t cost() const { return model_evaluations + 3 * trained_states; }
};

/// Prints a row beside a progress bar.
void print_row(support::progress& bar, const metrics_row& row);

/// Writes metrics.csv. Throws output_error.
void write_metrics(const std::filesystem::path& path, const std::vector<metrics_row>& rows);

/// Draws reward and judge against cost, by gnuplot. Without gnuplot it says so and leaves the
/// plot out. `probability`: the reward lies in [0, 1], as the judge's accuracy does.
void draw_reward(const std::filesystem::path& metrics, const std::filesystem::path& picture,
                 bool probability);

/// Prints the first and the last row beside what the test images score.
void print_comparison(const metrics_row& before, const metrics_row& after, const evaluation& test_images);

/// Prints the shares of the measured time. A resumed run knows only the time since it was started again;
/// without any, nothing is printed.
void print_time(const stopwatch& watch);

}  // namespace fashion
