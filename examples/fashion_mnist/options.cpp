// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <sstream>
#include <string_view>
#include <tempflow/config_summary.hpp>
#include <vector>

#include "methods.hpp"

namespace fashion {
namespace {

/// Calls visit(scope, group, name, value, check, help) for each setting: the one list behind the command
/// line, its help and the fingerprints.
template <class Options, class Visit>
void for_each_setting(Options& o, const Visit& visit) {
  using CLI::IsMember, CLI::NonNegativeNumber, CLI::PositiveNumber, CLI::Range;
  const auto any = CLI::Validator{};
  const auto fraction = Range(0.0, 1.0);
  const auto multiple_of_16 = CLI::Validator(
      [](const std::string& text) {
        const int n = std::atoi(text.c_str());
        return n > 0 && n % 16 == 0 ? std::string{} : "must be a positive multiple of 16, is " + text;
      },
      "MULTIPLE OF 16");

  const char* group = "Files and machine (no effect on results)";
  visit(scope::nothing, group, "--data", o.data, any, "folder of the four Fashion-MNIST files");
  visit(scope::nothing, group, "--output", o.output, any, "folder for results");
  visit(scope::nothing, group, "--cache", o.cache, any, "folder for pre-trained networks [OUTPUT/cache]");
  visit(scope::nothing, group, "--threads", o.threads, NonNegativeNumber,
        "threads; 0: one per hardware thread");

  group = "Pre-training";
  visit(scope::classifiers, group, "--seed", o.seed, NonNegativeNumber, "seed of everything random");
  visit(scope::classifiers, group, "--classifier-epochs", o.classifier_epochs, PositiveNumber,
        "epochs of the reward and judge classifiers");
  visit(scope::autoencoder, group, "--latents", o.latents, multiple_of_16, "dimension of the latents");
  visit(scope::autoencoder, group, "--autoencoder-steps", o.autoencoder_steps, PositiveNumber,
        "optimiser steps of 256 images");
  visit(scope::flow, group, "--width", o.width, multiple_of_16, "width of the residual blocks");
  visit(scope::flow, group, "--blocks", o.blocks, NonNegativeNumber, "number of residual blocks");
  visit(scope::flow, group, "--pretrain-steps", o.pretrain_steps, PositiveNumber,
        "optimiser steps of the flow model");
  visit(scope::flow, group, "--pretrain-batch", o.pretrain_batch, PositiveNumber, "images a step");
  visit(scope::flow, group, "--pretrain-rate", o.pretrain_rate, PositiveNumber, "peak learning rate");
  visit(scope::flow, group, "--pretrain-ema", o.pretrain_ema, fraction, "decay of the weights' average");
  visit(scope::flow, group, "--label-noise", o.label_noise, fraction,
        "share of labels replaced by a random class, so that the model follows its prompt imperfectly");

  visit(scope::flow, group, "--shift", o.shift, PositiveNumber,
        "shift of the noise levels, also of the sampler (SD3: 3)");

  group = "Fine-tuning";
  std::vector<std::string> names;
  for (const method& m : methods()) names.push_back(m.name);
  visit(scope::run, group, "--method", o.method, IsMember(names),
        "what is learnt from, and how (see below); sets the defaults that follow");
  visit(scope::run, group, "--run-seed", o.run_seed, NonNegativeNumber,
        "seed of fine-tuning alone, for several runs from one pre-trained model");
  visit(scope::run, group, "--reward", o.reward, IsMember({"classifier", "jpeg"}),
        "the prompt's probability, or the negative JPEG size in kilobytes");
  visit(scope::run, group, "--jpeg-quality", o.jpeg_quality, Range(1, 100), "of --reward jpeg");
  visit(scope::run, group, "--updates", o.updates, NonNegativeNumber, "policy updates");
  visit(scope::run, group, "--seeds", o.seeds, PositiveNumber, "initial noises per prompt and update");
  visit(scope::run, group, "--explorations", o.explorations, PositiveNumber,
        "K: branches at each step of a seed; successors where a tree splits; else samples per prompt are "
        "seeds x K");
  visit(scope::run, group, "--completion", o.completion,
        CLI::Validator(
            [](const std::string& text) {
              bool list = !text.empty() && text.back() != ',';
              std::istringstream numbers(text);
              for (std::string number; list && std::getline(numbers, number, ',');) {
                list = !number.empty() && number.size() < 5 &&
                       number.find_first_not_of("0123456789") == std::string::npos;
              }
              return text == "full" || list ? std::string{} : "must be full, or numbers of steps as in 2,2,1";
            },
            "full|STEPS[,STEPS...]"),
        "how branches are finished: every remaining step, or at most so many coarse ones; one number per "
        "branching "
        "step, the last for all that follow");
  visit(scope::run, group, "--antithetic", o.antithetic, any,
        "explorations in pairs of noise z and -z: true or false");
  visit(scope::run, group, "--shared-noise", o.shared_noise, any,
        "all samples of a prompt start from one initial noise: true or false");
  visit(scope::run, group, "--window", o.window, NonNegativeNumber,
        "explore and train only so many neighbouring steps; 0: all");
  visit(scope::run, group, "--window-updates", o.window_updates, NonNegativeNumber,
        "updates until the window slides on by a step; 0: its place is drawn for each update");
  visit(scope::run, group, "--renoised", o.renoised, PositiveNumber,
        "nft, awm: noise levels that each finished sample is noised to again");
  visit(scope::run, group, "--groups", o.groups, IsMember({"seed", "prompt"}),
        "whom a sample is compared with: siblings of its seed and step, or all of its prompt and step");
  visit(
      scope::run, group, "--advantage-scale", o.advantage_scale, IsMember({"group", "global", "none"}),
      "what a reward's lead over its group is divided by: the group's std, that of all samples, or nothing");
  visit(scope::run, group, "--weights", o.weights, IsMember({"noise-aware", "uniform", "guard"}),
        "weights of the steps");
  visit(scope::run, group, "--steps", o.steps, Range(2, 1000), "T: steps of a rollout and of an evaluation");
  visit(scope::run, group, "--trained-steps", o.trained_steps, PositiveNumber,
        "leading steps that explore and train; the last one is nearly deterministic");
  visit(scope::run, group, "--noise-level", o.noise_level, PositiveNumber,
        "a of Flow-SDE, eta of DanceGRPO's SDE");
  visit(scope::run, group, "--clip", o.clip, NonNegativeNumber,
        "trust region of the ratio, 1 +- clip; dppo: most KL");
  visit(scope::run, group, "--advantage-clip", o.advantage_clip, PositiveNumber, "bound of an advantage");
  visit(scope::run, group, "--kl-beta", o.kl_beta, NonNegativeNumber, "weight of the KL to the frozen model");
  visit(scope::run, group, "--learning-rate", o.learning_rate, PositiveNumber, "AdamW");
  visit(scope::run, group, "--final-rate", o.final_rate, fraction,
        "share of the learning rate that is left at the last update; it falls linearly");
  visit(scope::run, group, "--weight-decay", o.weight_decay, NonNegativeNumber, "AdamW");
  visit(scope::run, group, "--max-gradient-norm", o.max_gradient_norm, PositiveNumber, "global norm clip");
  visit(scope::run, group, "--minibatch", o.minibatch, PositiveNumber,
        "states per forward and backward pass");
  visit(scope::run, group, "--optimizer-steps", o.optimizer_steps, PositiveNumber,
        "optimiser steps a rollout");
  visit(scope::run, group, "--ema-decay", o.ema_decay, fraction,
        "decay of the evaluated average of the weights");
  visit(scope::run, group, "--ema-interval", o.ema_interval, PositiveNumber,
        "optimiser steps between its updates");

  group = "Evaluation";
  visit(scope::run, group, "--evaluate-every", o.evaluate_every, PositiveNumber,
        "updates between evaluations");
  visit(scope::run, group, "--evaluation-samples", o.evaluation_samples, Range(12, 100000),
        "images a prompt");
}

}  // namespace

std::string options::fingerprint(scope product) const {
  std::ostringstream out;
  out.precision(12);
  for_each_setting(
      *this, [&](scope which, const char*, const char* name, const auto& value, const auto&, const char*) {
        if (which != scope::nothing && which <= product) out << name << '=' << value << '\n';
      });
  return out.str();
}

options recommended(const std::string& method) {
  options o;
  o.method = method;
  if (const auto* known = find_method(method)) known->recommended(o);
  return o;
}

options read_options(CLI::App& app, int argc, char** argv, const std::function<void(options&)>& adjust,
                     const more_options& add) {
  std::string method = options{}.method;  // first of all, because the defaults that --help shows depend on it
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--method" && i + 1 < argc) method = argv[i + 1];
    if (argument.starts_with("--method=")) method = argument.substr(9);
  }
  options o = recommended(method);
  if (adjust) adjust(o);
  app.get_formatter()->column_width(36);
  for_each_setting(
      o, [&](scope, const char* group, const char* name, auto& value, const auto& check, const char* help) {
        app.add_option(name, value, help)->group(group)->capture_default_str()->take_last()->check(check);
      });
  add(app, o);
  std::string known = "Methods (docs/methods.md):\n";
  for (const fashion::method& m : methods()) {
    const std::string name = m.name;
    known += "  " + name + std::string(name.size() < 16 ? 16 - name.size() : 1, ' ') + m.summary + '\n';
  }
  app.footer(known);
  app.parse(argc, argv);
  if (o.trained_steps > o.steps) throw CLI::ValidationError("--trained-steps", "must be at most --steps");
  if (o.window > o.trained_steps) throw CLI::ValidationError("--window", "must be at most --trained-steps");
  const bool pairs = o.explorations % 2 == 0 && (method_named(o.method).draws_siblings || o.shared_noise);
  if (o.antithetic && !pairs) {
    throw CLI::ValidationError("--antithetic",
                               "needs an even --explorations, and samples that part from one state: with " +
                                   o.method + " --shared-noise");
  }
  if (app.count("--cache") == 0) o.cache = o.output / "cache";
  return o;
}

options parse_options(int argc, char** argv, const std::string& description,
                      const std::function<void(options&)>& adjust, const more_options& add) {
  CLI::App app{description};
  app.set_version_flag("--version", tempflow::config_summary());
  try {
    return read_options(app, argc, argv, adjust, add);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
}

}  // namespace fashion
