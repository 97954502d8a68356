// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "options.hpp"
#include "report.hpp"
#include "support/interruption.hpp"
#include "support/progress.hpp"
#include "update_report.hpp"

namespace fashion {

/// The row after `last`, as it is before its updates: sums go on, means begin at nothing.
inline metrics_row row_after(const metrics_row& last) {
  metrics_row row = last;
  row.kl = row.clip_fraction = row.ratio_mean = row.zero_std_share = 0;
  return row;
}

/// Updates until the next evaluation is due, and that evaluation, into a row that row_after began. `evaluate`
/// judges the trainer's average. False: a signal asked the program to end before that; called again with the
/// same row and trainer it goes on.
template <class Trainer, class Evaluate>
bool advance(Trainer& training, const options& o, const Evaluate& evaluate, metrics_row& row,
             support::progress& bar) {
  const double start = bar.seconds();
  const std::clock_t begin = std::clock();
  const auto take_time = [&] {
    row.cpu_seconds += static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  const int count = std::min(o.evaluate_every, o.updates - static_cast<int>(row.update));
  while (training.updates() < row.update + count) {
    if (support::interruption()) {
      take_time();
      row.seconds += bar.seconds() - start;
      return false;
    }
    const update_report report = training.update();
    row.kl += report.policy.kl / count;
    row.clip_fraction += report.policy.clip_fraction() / count;
    row.ratio_mean += report.policy.ratio_mean / count;
    row.zero_std_share += report.groups.zero_std_share() / count;
    row.model_evaluations += report.cost.model_evaluations;
    row.model_calls += report.cost.model_calls;
    row.trained_states += report.cost.trained_states;
    row.scored += report.cost.samples;
    char note[40];
    std::snprintf(note, sizeof note, "reward of the rollout %.3f", report.groups.reward_mean);
    bar.update(static_cast<double>(training.updates()) / o.updates, note);
  }
  take_time();
  row.update = training.updates();
  row.quality = evaluate();
  row.seconds += bar.seconds() - start;
  return true;
}

}  // namespace fashion
