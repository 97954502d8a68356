// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
// Fine-tunes a flow model that draws clothes, so that it draws what it is asked for.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <exception>

#include "advance.hpp"
#include "checkpoint.hpp"
#include "evaluation.hpp"
#include "options.hpp"
#include "pretrain.hpp"
#include "recipe.hpp"
#include "report.hpp"
#include "stopwatch.hpp"
#include "support/folder_lock.hpp"
#include "support/interruption.hpp"
#include "support/progress.hpp"
#include "trainer.hpp"

namespace {

using namespace fashion;
namespace tf = tempflow;

/// The run's state and its checkpoints, the newest and the one before it.
struct run_state {
  trainer& training;
  std::filesystem::path newest, previous;
  std::string fingerprint;
  std::vector<metrics_row> rows;  // of evaluations
  metrics_row next;               // of the updates since

  void save() {
    checkpoint_writer file(newest, fingerprint);
    training.save(file);
    (file << rows << next).commit(previous);
  }

  /// False: there is none. Where the newest is damaged, or a kill came before it was in its place, the one before it
  /// takes its place. Throws unreadable_error when none is whole.
  bool load(support::progress& bar) {
    bool damaged = false;
    for (const auto& path : {newest, previous}) {
      if (!std::filesystem::exists(path)) continue;
      try {
        read(path);
        if (path == previous) std::filesystem::rename(previous, newest);
        return true;
      } catch (const unreadable_error& error) {
        bar.say(error.what());
        damaged = true;
      }
    }
    if (damaged) throw unreadable_error("no checkpoint is whole; --restart begins afresh");
    return false;
  }

  void remove() {
    support::discard_file(newest);
    support::discard_file(previous);
  }

 private:
  void read(const std::filesystem::path& path) {
    checkpoint_reader file(path, fingerprint);
    training.load(file);
    file >> rows >> next;
    file.expect_end();
  }
};

void run(const options& o) {
  const tf::cpu_backend cpu(o.threads);
  support::make_output_folder(o.output);
  const support::folder_lock ours(o.output, support::contention::refuse);
  const auto metrics = o.output / "metrics.csv";

  recipe(o).plan(0);  // a plan that makes no sense throws before the pre-training

  const auto data = read_dataset(o.data);
  const auto start = pretrain(cpu, o, data);
  const auto reward = make_reward(cpu, o, start.reward);
  const evaluator evaluate(cpu, o, start, data, reward);
  stopwatch watch;
  trainer training(cpu, o, start, reward, watch);
  run_state state{training,
                  o.output / "checkpoint.bin",
                  o.output / "checkpoint.previous.bin",
                  o.fingerprint(scope::run),
                  {},
                  {}};
  support::progress bar("fine-tuning");

  if (o.restart) state.remove();
  if (state.load(bar)) {
    bar.say("continuing from " + state.newest.string() + "; --restart begins afresh");
    for (const auto& row : state.rows) print_row(bar, row);
  } else {
    evaluate.draw(start.weights, o.output / "samples_before.png");
    state.rows.emplace_back().quality = evaluate.evaluate(start.weights);
    print_row(bar, state.rows.back());
    state.next = row_after(state.rows.back());
    state.save();
  }
  write_metrics(metrics, state.rows);

  while (training.updates() < o.updates) {
    const stopwatch::scope timed(watch, account::everything_else);
    const auto judged = [&] {
      return watch.charge(account::not_measured, [&] { return evaluate.evaluate(training.average()); });
    };
    if (advance(training, o, judged, state.next, bar)) {
      state.rows.push_back(state.next);
      state.next = row_after(state.next);
      print_row(bar, state.rows.back());
    }
    state.save();
    write_metrics(metrics, state.rows);
    support::end_if_interrupted();
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
      "Pre-trains a flow model on Fashion-MNIST, then fine-tunes it by policy gradient, TempFlow-GRPO "
      "unless --method says otherwise, so that it follows its prompts. Killed and started again it "
      "continues from its last checkpoint, to the same bits. SIGTERM and SIGINT (Ctrl-C) end it after the "
      "update that it is at, with a checkpoint and exit status 143 or 130; a second one ends it at once. "
      "Errors have exit status 1 (files, disk) or above 100 (options).",
      {}, [](CLI::App& app, fashion::options& o) {
        app.add_flag("--restart", o.restart,
                     "fine-tune afresh, without the checkpoint that each evaluation leaves in OUTPUT")
            ->group("Files and machine (no effect on results)");
      });
  support::note_interruptions();
  try {
    run(options);
  } catch (const support::interrupted& by) {
    std::fprintf(stderr, "fashion_mnist: %s; started again it continues from here\n", strsignal(by.signal));
    return 128 + by.signal;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fashion_mnist: %s\n", error.what());
    return 1;
  }
}
