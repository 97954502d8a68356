// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
// Fine-tunes a flow model that draws clothes, so that it draws what it is asked for.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "advance.hpp"
#include "checkpoint.hpp"
#include "evaluation.hpp"
#include "options.hpp"
#include "pretrain.hpp"
#include "progress.hpp"
#include "recipe.hpp"
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

void run(const options& o) {
  const tf::cpu_backend cpu(o.threads);
  std::filesystem::create_directories(o.output);
  const auto checkpoint = o.output / "checkpoint.bin", metrics = o.output / "metrics.csv";
  const auto fingerprint = o.fingerprint(scope::run);

  recipe(o).plan(0);  // a plan that makes no sense throws before the pre-training

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
    const auto judged = [&] {
      return watch.charge(account::not_measured, [&] { return evaluate.evaluate(training.average()); });
    };
    state.rows.push_back(advance(training, o, judged, state.rows.back(), bar));
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
  const auto options = parse_options(
      argc, argv,
      "Pre-trains a flow model on Fashion-MNIST, then fine-tunes it by policy gradient, TempFlow-GRPO unless "
      "--method says otherwise, so that it follows its prompts. Killed and started again it continues where "
      "it was.",
      {}, [](CLI::App& app, fashion::options& o) {
        app.add_flag("--restart", o.restart,
                     "fine-tune afresh, without the checkpoint that each evaluation leaves in OUTPUT")
            ->group("Files and machine (no effect on results)");
      });
  try {
    run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fashion_mnist: %s\n", error.what());
    return 1;
  }
}
