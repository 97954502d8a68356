// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "options.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "update_report.hpp"

namespace fashion {

/// Updates until the next evaluation is due; its row. `evaluate` judges the trainer's average.
template <class Trainer, class Evaluate>
metrics_row advance(Trainer& training, const options& o, const Evaluate& evaluate, const metrics_row& last,
                    progress& bar) {
  metrics_row row;
  row.ratio_mean = 0;
  row.model_evaluations = last.model_evaluations;
  row.model_calls = last.model_calls;
  row.trained_states = last.trained_states;
  row.scored = last.scored;
  const double start = bar.seconds();
  const std::clock_t begin = std::clock();
  const int count = std::min(o.evaluate_every, o.updates - training.updates());
  for (int i = 0; i < count; ++i) {
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
  row.cpu_seconds = last.cpu_seconds + static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  row.update = training.updates();
  row.quality = evaluate();
  row.seconds = last.seconds + bar.seconds() - start;
  return row;
}

}  // namespace fashion
