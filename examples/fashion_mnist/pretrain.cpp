// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "pretrain.hpp"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numbers>
#include <optional>
#include <tempflow/tempflow.hpp>

#include "adamw.hpp"
#include "checkpoint.hpp"
#include "support/folder_lock.hpp"
#include "support/interruption.hpp"
#include "support/progress.hpp"
#include "support/random.hpp"

namespace fashion {
namespace {

namespace tf = tempflow;

/// A name for a cache file that other settings do not share (FNV-1a).
std::string hash(std::string_view text) {
  std::uint64_t h = 14695981039346656037u;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211u;
  char out[17];
  std::snprintf(out, sizeof out, "%016llx", static_cast<unsigned long long>(h));
  return out;
}

/// Whether `read` found what it wants in a cache file. A damaged one counts as none: what it held is made again, to
/// the same bits.
template <class Read>
bool read_cache(const std::filesystem::path& path, const std::string& fingerprint, const Read& read) {
  if (!std::filesystem::exists(path)) return false;
  try {
    checkpoint_reader file(path, fingerprint);
    read(file);
    file.expect_end();
    return true;
  } catch (const unreadable_error& error) {
    std::printf("%s; it is made again\n", error.what());
    std::fflush(stdout);
    return false;
  }
}

/// One batch of noised images, drawn from (seed, step) alone.
struct flow_batch {
  matrix clean, noise;
  std::vector<double> sigma;
  std::vector<tf::index_t> label;

  flow_batch(Eigen::Index rows, Eigen::Index dimension)
      : clean(rows, dimension), noise(rows, dimension), sigma(size_t(rows)), label(size_t(rows)) {}

  void draw(const tf::cpu_backend& cpu, const options& o, const matrix& latents,
            const std::vector<tf::index_t>& labels, int step) {
    const auto rows = clean.rows();
    support::random_stream random{o.seed, support::purpose::batches, static_cast<std::uint32_t>(step)};
    for (Eigen::Index i = 0; i < rows; ++i) {
      const auto row = static_cast<std::size_t>(i);
      const int image = random.below(static_cast<int>(latents.rows()));
      clean.row(i) = latents.row(image);
      const bool mislabel = static_cast<double>(random.uniform()) < o.label_noise;
      label[row] = mislabel ? random.below(classes) : labels[static_cast<std::size_t>(image)];
      // Stratified: each batch covers all noise levels. The shift puts them where the sampler's steps are.
      const double level =
          (static_cast<double>(i) + static_cast<double>(random.uniform())) / static_cast<double>(rows);
      sigma[row] = tf::static_shift(level, o.shift);
    }
    cpu.for_each_index(tiles_of(rows), [&](tf::index_t tile) {
      auto part = noise.middleRows(tile * tile_rows, tile_rows);
      support::random_stream normals{o.seed, support::purpose::noise, static_cast<std::uint32_t>(step),
                                     static_cast<std::uint32_t>(tile)};
      normals.fill_normal(elements(part));
    });
  }
};

/// Trains the flow model's weights on latents of images; returns their average.
vector train_flow(const tf::cpu_backend& cpu, const options& o, const matrix& latents,
                  const std::vector<tf::index_t>& labels, const velocity_network& network,
                  const std::filesystem::path& partial, const std::string& fingerprint,
                  support::progress& bar) {
  int step = 0;
  vector weights = network.initial_weights(o.seed), average = weights, gradient(weights.size());
  adamw optimiser(weights.size());
  read_cache(partial, fingerprint, [&](checkpoint_reader& file) {
    file >> step >> weights >> average >> optimiser.mean() >> optimiser.square() >> optimiser.steps();
  });

  flow_batch batch(tile_rows * tiles_of(o.pretrain_batch), latents.cols());
  velocity_network::tapes tapes;
  const tf::ema_schedule ema{.decay = o.pretrain_ema, .interval = 1};
  double shown_loss = 0, saved = bar.seconds();
  while (step < o.pretrain_steps) {
    batch.draw(cpu, o, latents, labels, step);
    gradient.setZero();
    const double loss = network.flow_matching_loss(cpu, weights, batch.clean, batch.noise, batch.sigma,
                                                   batch.label, tapes, gradient);
    optimiser.step(
        cpu, {.learning_rate = cosine_rate(o.pretrain_rate, step, o.pretrain_steps), .weight_decay = 1e-2},
        gradient, weights);
    tf::ema_update(cpu, elements(average), elements(weights), *ema.at(step));
    ++step;
    shown_loss += (loss - shown_loss) * std::max(0.02, 1.0 / step);
    char note[32];
    std::snprintf(note, sizeof note, "loss %.3f", shown_loss);
    bar.update(static_cast<double>(step) / o.pretrain_steps, note);
    if ((bar.seconds() - saved > 10 || support::interruption()) && step < o.pretrain_steps) {
      checkpoint_writer file(partial, fingerprint);
      file << step << weights << average << optimiser.mean() << optimiser.square() << optimiser.steps();
      file.commit();
      saved = bar.seconds();
      support::end_if_interrupted();
    }
  }
  return average;
}

std::filesystem::path cache_file(const options& o, const std::string& what, const std::string& fingerprint) {
  return o.cache / (what + '-' + hash(fingerprint));
}

classifier make_classifier(const tf::cpu_backend& cpu, const options& o, const dataset& data,
                           const std::string& name, const classifier_settings& settings) {
  const auto fingerprint = o.fingerprint(scope::classifiers);
  const auto path = cache_file(o, name, fingerprint);
  classifier net(settings);
  vector weights(net.parameters());
  if (read_cache(path, fingerprint, [&](checkpoint_reader& file) { file >> weights; })) {
    net.set_weights(std::move(weights));
    return net;
  }
  support::progress bar(name);
  net.train(cpu, data.train, [&](double done) {
    bar.update(done);
    support::end_if_interrupted();
  });
  (checkpoint_writer(path, fingerprint) << net.weights()).commit();
  char line[80];
  std::snprintf(line, sizeof line, "%s: test accuracy %.3f, %.1f s", name.c_str(),
                net.accuracy(cpu, data.test.images, data.test.labels), bar.seconds());
  bar.say(line);
  return net;
}

autoencoder make_autoencoder(const tf::cpu_backend& cpu, const options& o, const dataset& data) {
  const auto fingerprint = o.fingerprint(scope::autoencoder);
  const auto path = cache_file(o, "autoencoder", fingerprint);
  autoencoder codec({.latents = o.latents, .steps = o.autoencoder_steps, .seed = o.seed});
  if (read_cache(path, fingerprint,
                 [&](checkpoint_reader& file) { file >> codec.weights >> codec.mean >> codec.deviation; }))
    return codec;
  support::progress bar("autoencoder");
  codec.train(cpu, data.train.images, [&](double done) {
    bar.update(done);
    support::end_if_interrupted();
  });
  (checkpoint_writer(path, fingerprint) << codec.weights << codec.mean << codec.deviation).commit();
  const matrix again = codec.decode(cpu, codec.encode(cpu, data.test.images));
  char line[80];
  std::snprintf(line, sizeof line, "autoencoder: test pixel error %.3f, %.1f s",
                std::sqrt(static_cast<double>((again - data.test.images).squaredNorm() /
                                              static_cast<float>(again.size()))),
                bar.seconds());
  bar.say(line);
  return codec;
}

vector make_flow(const tf::cpu_backend& cpu, const options& o, const dataset& data, const autoencoder& codec,
                 const velocity_network& network) {
  const auto fingerprint = o.fingerprint(scope::flow);
  const auto path = cache_file(o, "flow", fingerprint), partial = cache_file(o, "flow-partial", fingerprint);
  vector weights(network.parameters());
  if (read_cache(path, fingerprint, [&](checkpoint_reader& file) { file >> weights; })) {
    support::discard_file(partial);  // of a process killed after its last step
    return weights;
  }
  support::progress bar("flow model");
  weights = train_flow(cpu, o, codec.encode(cpu, data.train.images), data.train.labels, network, partial,
                       fingerprint, bar);
  (checkpoint_writer(path, fingerprint) << weights).commit();
  support::discard_file(partial);
  char line[80];
  std::snprintf(line, sizeof line, "flow model: %.2f M parameters, %.1f s",
                1e-6 * static_cast<double>(weights.size()), bar.seconds());
  bar.say(line);
  return weights;
}

}  // namespace

pretrained pretrain(const tf::cpu_backend& cpu, const options& o, const dataset& data) {
  std::filesystem::create_directories(o.cache);
  std::optional<support::folder_lock> filling;  // the output folder is this process's already
  if (!std::filesystem::equivalent(o.cache, o.output)) filling.emplace(o.cache, support::contention::wait);
  const classifier_settings for_reward{
      .hidden = {256, 128}, .nonlinearity = activation::relu, .epochs = o.classifier_epochs, .seed = o.seed};
  const classifier_settings for_judge{.hidden = {384, 64},
                                      .nonlinearity = activation::silu,
                                      .epochs = o.classifier_epochs,
                                      .seed = o.seed + 1000003ull};
  auto reward = make_classifier(cpu, o, data, "reward", for_reward);
  auto judge = make_classifier(cpu, o, data, "judge", for_judge);
  auto codec = make_autoencoder(cpu, o, data);
  velocity_network network({.latents = o.latents, .width = o.width, .blocks = o.blocks});
  auto weights = make_flow(cpu, o, data, codec, network);
  return {std::move(codec), std::move(network), std::move(weights), std::move(reward), std::move(judge)};
}

}  // namespace fashion
