// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace fashion {

/// What a setting determines: a product, and each product after it.
enum class scope { nothing, classifiers, autoencoder, flow, run };

/// Everything that the command line sets. The defaults are the recommended run.
struct options {
  // Files and machine: nothing here changes a result.
  std::filesystem::path data = FASHION_MNIST_DATA;
  std::filesystem::path output = "build/demo";
  std::filesystem::path cache = "build/demo/cache";
  int threads = 0;
  bool restart = false;

  std::uint32_t seed = 1;

  // The flow model and its pre-training.
  int latents = 32;
  int autoencoder_steps = 2000;
  int width = 384;
  int blocks = 3;
  int pretrain_steps = 3500;
  int pretrain_batch = 256;
  double pretrain_rate = 1e-3;
  double pretrain_ema = 0.999;
  double shift = 1.5;  // the sampler's too
  double label_noise = 0.4;

  // The reward and judge classifiers.
  int classifier_epochs = 4;

  // Fine-tuning.
  std::uint32_t run_seed = 1;
  std::string method = "tempflow-grpo";
  std::string reward = "classifier";
  int jpeg_quality = 75;
  int updates = 58;
  int seeds = 4;
  int explorations = 6;
  std::string completion = "2,2,1";
  bool antithetic = true;
  bool shared_noise = false;
  int window = 0;
  int window_updates = 0;
  int renoised = 4;
  std::string groups = "seed";
  // Not the published "group": it makes a whole advantage of the last thousandth of reward among siblings that
  // all succeed, and drives every sample to its class's prototype.
  std::string advantage_scale = "global";
  std::string weights = "noise-aware";
  int steps = 10;
  int trained_steps = 9;
  double noise_level = 0.7;
  double clip = 3e-3;
  double advantage_clip = 5;
  double kl_beta = 0.55;
  double learning_rate = 1e-3;
  double final_rate = 0.1;
  double weight_decay = 1e-4;
  double max_gradient_norm = 1;
  int minibatch = 512;
  int optimizer_steps = 2;
  double ema_decay = 0.9;
  int ema_interval = 1;

  // Evaluation.
  int evaluate_every = 10;
  int evaluation_samples = 200;

  /// Each setting that determines a product, as "name=value" lines.
  std::string fingerprint(scope product) const;
};

/// The recommended run of a method; of a name that no method has, the default one.
options recommended(const std::string& method);

/// Adds a program's own options to the common ones.
using more_options = std::function<void(CLI::App&, options&)>;

/// Reads a command line into an empty app, from the recommended run of the method that it names, changed by `adjust`
/// ({}: not at all). Throws CLI::ParseError for a mistake, and for --help.
options read_options(CLI::App& app, int argc, char** argv, const std::function<void(options&)>& adjust,
                     const more_options& add);

/// The same for a program that does what `description` says. After --help or a mistake, prints what is due and exits.
options parse_options(int argc, char** argv, const std::string& description,
                      const std::function<void(options&)>& adjust, const more_options& add);

}  // namespace fashion
