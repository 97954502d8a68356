// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
// fashion_mnist's task, fine-tuned on an NVIDIA GPU.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <tempflow/interop/eigen.hpp>

#include "advance.hpp"
#include "evaluation.hpp"
#include "gpu.hpp"
#include "measure.hpp"
#include "pretrain.hpp"
#include "recipe.hpp"
#include "report.hpp"

namespace {

using namespace fashion;
namespace tf = tempflow;

void run(const options& o, int repetitions) {
  if (repetitions > 0 && o.method != "tempflow-grpo")
    throw std::invalid_argument("--measure compares rollouts of --method tempflow-grpo");
  if (!std::holds_alternative<tf::clipped_grpo>(recipe(o).objective))
    throw std::invalid_argument("--method " + o.method +
                                " runs in fashion_mnist alone: its loss needs more than the ratio");
  const gpu device;  // first: without it the pre-training would be for nothing
  const tf::cuda_backend backend(device.stream());
  const cublas_gemm multiply(device.stream());
  const tf::cpu_backend cpu(o.threads);
  std::filesystem::create_directories(o.output);
  std::printf("GPU: %s\n", device.name());

  const auto data = read_dataset(o.data);
  const auto start = pretrain(cpu, o, data);
  const auto reward = make_reward(cpu, o, start.reward);
  gpu_finetuner training(backend, multiply, o, elements(start.weights), [&](auto latents, auto prompts) {
    return reward(start.codec.decode(cpu, tf::eigen_map(latents)), prompts);
  });
  if (repetitions > 0) {
    const auto update = [&](calls order) {
      training.update(order);
      return training.last_cost();
    };
    return measure(update, repetitions, o.seed);
  }

  const evaluator evaluate(cpu, o, start, data, reward);
  const auto average = [&] {
    const auto copy = training.average();
    return vector(Eigen::Map<const vector>(copy.data(), static_cast<Eigen::Index>(copy.size())));
  };
  support::progress bar("fine-tuning");
  evaluate.draw(start.weights, o.output / "samples_before.png");
  std::vector<metrics_row> rows(1);
  rows.back().quality = evaluate.evaluate(start.weights);
  print_row(bar, rows.back());
  while (training.updates() < o.updates) {
    metrics_row row = row_after(rows.back());
    advance(
        training, o, [&] { return evaluate.evaluate(average()); }, row, bar);
    rows.push_back(row);
    print_row(bar, rows.back());
    write_metrics(o.output / "metrics.csv", rows);
  }

  evaluate.draw(average(), o.output / "samples_after.png");
  draw_reward(o.output / "metrics.csv", o.output / "reward.png", o.reward == "classifier");
  print_comparison(rows.front(), rows.back(), evaluate.test_images());
  std::printf("largest drift of a log-prob between rollout and training: %.1e (mended; trust region %.1e)\n",
              training.largest_drift(), o.clip);
  std::printf("results: %s\n", o.output.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  int repetitions = 0;
  const auto options = parse_options(
      argc, argv,
      "Pre-trains a flow model on Fashion-MNIST on the CPU, then fine-tunes it by TempFlow-GRPO on an NVIDIA "
      "GPU, without a framework. Pre-trained networks are those of fashion_mnist: --cache build/demo/cache "
      "takes them from ./dev demo.",
      [](fashion::options& o) { o.output = "build/cuda_finetune", o.cache = "build/cuda_finetune/cache"; },
      [&](CLI::App& app, fashion::options&) {
        app.add_option("--measure", repetitions,
                       "instead of a run: time so many updates with the wavefront's model calls, and as many "
                       "with a call for the branches of each step")
            ->group("Measurement")
            ->check(CLI::PositiveNumber);
      });
  try {
    run(options, repetitions);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_finetune: %s\n", error.what());
    return 1;
  }
}
