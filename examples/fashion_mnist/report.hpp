// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "evaluation.hpp"
#include "progress.hpp"
#include "stopwatch.hpp"

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
  double seconds = 0;
};

/// Prints a row beside a progress bar.
void print_row(progress& bar, const metrics_row& row);

/// Writes metrics.csv. Throws output_error.
void write_metrics(const std::filesystem::path& path, const std::vector<metrics_row>& rows);

/// Draws reward and judge against model evaluations, by gnuplot. Without gnuplot it says so and leaves the
/// plot out. `probability`: the reward lies in [0, 1], as the judge's accuracy does.
void draw_reward(const std::filesystem::path& metrics, const std::filesystem::path& picture,
                 bool probability);

/// Prints the first and the last row beside what the test images score.
void print_comparison(const metrics_row& before, const metrics_row& after, const evaluation& test_images);

/// Prints the shares of the measured time. A resumed run knows only the time since it was started again;
/// without any, nothing is printed.
void print_time(const stopwatch& watch);

}  // namespace fashion
