// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
// Fine-tunes a flow model that draws clothes, so that it draws what it is asked for.

#include <cstdio>
#include <exception>

#include "checkpoint.hpp"
#include "evaluation.hpp"
#include "options.hpp"
#include "pretrain.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "stopwatch.hpp"
#include "trainer.hpp"

namespace {

using namespace fashion;
namespace tf = tempflow;

/// The run's state, and its checkpoint.
struct run_state {
  trainer& training;
  std::vector<metrics_row> rows;

  void save(const std::filesystem::path& path, const std::string& fingerprint) {
    checkpoint_writer file(path, fingerprint);
    training.save(file);
    (file << rows).commit();
  }
  void load(const std::filesystem::path& path, const std::string& fingerprint) {
    checkpoint_reader file(path, fingerprint);
    training.load(file);
    file >> rows;
    file.expect_end();
  }
};

void print_row(progress& bar, const metrics_row& row) {
  char line[160];
  std::snprintf(line, sizeof line,
                "update %4lld  reward %7.3f  judge %.3f  diversity %.3f  frechet %6.2f  kl %.4f  %4.0f s",
                static_cast<long long>(row.update), row.quality.reward, row.quality.judge,
                row.quality.diversity, row.quality.frechet, row.kl, row.seconds);
  bar.say(line);
}

/// Updates until the next evaluation is due; its row.
metrics_row advance(trainer& training, const options& o, const evaluator& evaluate, const metrics_row& last,
                    progress& bar, stopwatch& watch) {
  metrics_row row;
  row.ratio_mean = 0;
  row.model_evaluations = last.model_evaluations;
  row.model_calls = last.model_calls;
  const double start = bar.seconds();
  const int count = std::min(o.evaluate_every, o.updates - training.updates());
  for (int i = 0; i < count; ++i) {
    const auto report = training.update();
    row.kl += report.policy.kl / count;
    row.clip_fraction += report.policy.clip_fraction() / count;
    row.ratio_mean += report.policy.ratio_mean / count;
    row.zero_std_share += report.groups.zero_std_share() / count;
    row.model_evaluations += report.cost.model_evaluations;
    row.model_calls += report.cost.model_calls;
    char note[40];
    std::snprintf(note, sizeof note, "reward of the rollout %.3f", report.groups.reward_mean);
    bar.update(static_cast<double>(training.updates()) / o.updates, note);
  }
  row.update = training.updates();
  row.quality = watch.charge(account::not_measured, [&] { return evaluate.evaluate(training.average()); });
  row.seconds = last.seconds + bar.seconds() - start;
  return row;
}

void run(const options& o) {
  const tf::cpu_backend cpu(o.threads);
  std::filesystem::create_directories(o.output);
  const auto checkpoint = o.output / "checkpoint.bin", metrics = o.output / "metrics.csv";
  const auto fingerprint = o.fingerprint(scope::run);

  const auto data = read_dataset(o.data);
  const auto start = pretrain(cpu, o, data);
  const auto reward = make_reward(cpu, o, start.reward);
  const evaluator evaluate(cpu, o, start, data, reward);
  stopwatch watch;
  trainer training(cpu, o, start, reward, watch);
  run_state state{training, {}};
  progress bar("fine-tuning");

  if (o.restart) std::filesystem::remove(checkpoint);
  if (std::filesystem::exists(checkpoint)) {
    state.load(checkpoint, fingerprint);
    bar.say("continuing from " + checkpoint.string() + "; --restart begins afresh");
    for (const auto& row : state.rows) print_row(bar, row);
  } else {
    evaluate.draw(start.weights, o.output / "samples_before.png");
    state.rows.emplace_back().quality = evaluate.evaluate(start.weights);
    print_row(bar, state.rows.back());
    state.save(checkpoint, fingerprint);
  }
  write_metrics(metrics, state.rows);

  while (training.updates() < o.updates) {
    const stopwatch::scope timed(watch, account::everything_else);
    state.rows.push_back(advance(training, o, evaluate, state.rows.back(), bar, watch));
    print_row(bar, state.rows.back());
    state.save(checkpoint, fingerprint);
    write_metrics(metrics, state.rows);
  }

  evaluate.draw(training.average(), o.output / "samples_after.png");
  draw_reward(metrics, o.output / "reward.png", o.reward == "classifier");
  print_comparison(state.rows.front(), state.rows.back(), evaluate.test_images());
  print_time(watch);
  std::printf("results: %s\n", o.output.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = parse_options(argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fashion_mnist: %s\n", error.what());
    return 1;
  }
}
