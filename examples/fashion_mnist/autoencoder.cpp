// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "autoencoder.hpp"

#include <numbers>

#include "adamw.hpp"

namespace fashion {
namespace {

constexpr int tiles = 4, batch = tiles * tile_rows;
constexpr float latent_noise = 0.1f;
constexpr float latent_pull =
    1e-3f;  // weight of the latents' mean square, beside the pixels' mean square error
constexpr int hidden_outer = 512, hidden_inner = 256;

/// Runs `net` over the rows of `inputs`, a tile at a time.
matrix run(const tempflow::cpu_backend& cpu, const perceptron& net, const vector& weights,
           const_matrix_view inputs) {
  matrix outputs(inputs.rows(), net.layers().back().outputs);
  cpu.for_each_index(tiles_of(inputs.rows()), [&](tempflow::index_t tile) {
    const auto begin = tile * tile_rows, rows = std::min<Eigen::Index>(tile_rows, inputs.rows() - begin);
    auto t = net.make_tape();
    t.linears.front().input = matrix::Zero(tile_rows, inputs.cols());
    t.linears.front().input.topRows(rows) = inputs.middleRows(begin, rows);
    net.forward(weights, t);
    outputs.middleRows(begin, rows) = t.output.topRows(rows);
  });
  return outputs;
}

}  // namespace

autoencoder::autoencoder(autoencoder_settings settings)
    : mean{Eigen::RowVectorXf::Zero(settings.latents)},
      deviation{Eigen::RowVectorXf::Ones(settings.latents)},
      settings_{settings} {
  layer_allocator allocate;
  encoder_ = {allocate, {pixels, hidden_outer, hidden_inner, settings.latents}, activation::silu};
  decoder_ = {allocate, {settings.latents, hidden_inner, hidden_outer, pixels}, activation::silu};
  weights.resize(allocate.size());
  encoder_.initialise_weights(weights, settings.seed);
  decoder_.initialise_weights(weights, settings.seed);
}

matrix autoencoder::encode(const tempflow::cpu_backend& cpu, const_matrix_view images) const {
  matrix latents = run(cpu, encoder_, weights, images);
  latents.rowwise() -= mean;
  latents.array().rowwise() /= deviation.array();
  return latents;
}

matrix autoencoder::decode(const tempflow::cpu_backend& cpu, const_matrix_view latents) const {
  matrix raw = latents.array().rowwise() * deviation.array();
  raw.rowwise() += mean;
  return run(cpu, decoder_, weights, raw).array().tanh();
}

void autoencoder::train_tile(const matrix& images, int step, int tile, perceptron::tape& encoding,
                             perceptron::tape& decoding) const {
  support::random_stream random{settings_.seed, support::purpose::noise, static_cast<std::uint32_t>(step),
                                static_cast<std::uint32_t>(tile)};
  auto& x = encoding.linears.front().input;
  x.resize(tile_rows, pixels);
  for (Eigen::Index i = 0; i < tile_rows; ++i)
    x.row(i) = images.row(random.below(static_cast<int>(images.rows())));
  encoder_.forward(weights, encoding);
  auto& z = decoding.linears.front().input;
  z.resize(tile_rows, settings_.latents);
  random.fill_normal(elements(z));
  z = encoding.output + latent_noise * z;
  decoder_.forward(weights, decoding);

  const matrix y = decoding.output.array().tanh();
  const matrix error = y - x;
  decoding.linears.back().output_gradient =
      error.array() * (1.0f - y.array().square()) * (2.0f / (batch * pixels));
  decoder_.backward(weights, decoding);
  auto& latent_gradient = encoding.linears.back().output_gradient;
  apply_transposed(decoder_.layers().front(), weights, decoding.linears.front().output_gradient,
                   latent_gradient);
  latent_gradient += encoding.output * (2.0f * latent_pull / static_cast<float>(batch * settings_.latents));
  encoder_.backward(weights, encoding);
}

void autoencoder::train(const tempflow::cpu_backend& cpu, const matrix& images, const report& progress) {
  adamw optimiser(weights.size());
  support::adamw_settings rule{.epsilon = 1e-10,
                               .weight_decay = 1e-3};  // a mean over 784 pixels has small gradients
  vector gradient(weights.size());
  std::vector<perceptron::tape> encoding(tiles, encoder_.make_tape()), decoding(tiles, decoder_.make_tape());
  for (int step = 0; step < settings_.steps; ++step) {
    cpu.for_each_index(tiles, [&](tempflow::index_t tile) {
      const auto t = static_cast<std::size_t>(tile);
      train_tile(images, step, static_cast<int>(tile), encoding[t], decoding[t]);
    });
    gradient.setZero();
    add_weight_gradients(cpu, encoder_.layers(), encoding, gradient);
    add_weight_gradients(cpu, decoder_.layers(), decoding, gradient);
    rule.learning_rate = cosine_rate(2e-3, step, settings_.steps);
    optimiser.step(cpu, rule, gradient, weights);
    if (progress) progress(static_cast<double>(step + 1) / settings_.steps);
  }
  const matrix raw = run(cpu, encoder_, weights, images);
  mean = raw.colwise().mean();
  deviation = ((raw.rowwise() - mean).colwise().squaredNorm() / static_cast<float>(raw.rows())).cwiseSqrt();
}

}  // namespace fashion
