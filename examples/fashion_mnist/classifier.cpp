// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "classifier.hpp"

#include "adamw.hpp"

namespace fashion {
namespace {

void softmax(matrix& logits) {
  for (Eigen::Index i = 0; i < logits.rows(); ++i) {
    logits.row(i) = (logits.row(i).array() - logits.row(i).maxCoeff()).exp();
    logits.row(i) /= logits.row(i).sum();
  }
}

}  // namespace

classifier::classifier(classifier_settings settings) : settings_{std::move(settings)} {
  std::vector<int> widths{pixels};
  widths.insert(widths.end(), settings_.hidden.begin(), settings_.hidden.end());
  widths.push_back(classes);
  layer_allocator allocate;
  net_ = {allocate, widths, settings_.nonlinearity};
  weights_.resize(allocate.size());
  net_.initialise_weights(weights_, settings_.seed);
}

void classifier::train(const tempflow::cpu_backend& cpu, const labelled_images& data,
                       const report& progress) {
  constexpr int tiles = 4, batch = tiles * tile_rows;
  const int count = static_cast<int>(data.size());
  const int batches = count / batch, steps = batches * settings_.epochs;
  adamw optimiser(weights_.size());
  support::adamw_settings rule{.weight_decay = 1e-2};
  vector gradient(weights_.size());
  std::vector<perceptron::tape> tapes(tiles, net_.make_tape());
  std::vector<int> order;
  for (int step = 0; step < steps; ++step) {
    const auto epoch = static_cast<std::uint32_t>(step / batches);
    if (step % batches == 0)
      order = support::shuffled(count, {settings_.seed, support::purpose::shuffle, epoch});
    cpu.for_each_index(tiles, [&](tempflow::index_t tile) {
      auto& t = tapes[static_cast<std::size_t>(tile)];
      auto& images = t.linears.front().input;
      images.resize(tile_rows, pixels);
      support::random_stream random{settings_.seed, support::purpose::noise, static_cast<std::uint32_t>(step),
                                    static_cast<std::uint32_t>(tile)};
      random.fill_normal(elements(images));
      const auto sources = std::span(order).subspan(
          static_cast<std::size_t>((step % batches) * batch + tile * tile_rows), tile_rows);
      for (Eigen::Index i = 0; i < tile_rows; ++i)
        images.row(i) =
            data.images.row(sources[static_cast<std::size_t>(i)]) + settings_.noise * images.row(i);
      net_.forward(weights_, t);
      // The gradient of the cross-entropy with respect to the logits: probabilities less the truth.
      softmax(t.output);
      for (Eigen::Index i = 0; i < tile_rows; ++i)
        t.output(i, data.labels[static_cast<std::size_t>(sources[static_cast<std::size_t>(i)])]) -= 1.0f;
      t.linears.back().output_gradient = t.output / batch;
      net_.backward(weights_, t);
    });
    gradient.setZero();
    add_weight_gradients(cpu, net_.layers(), tapes, gradient);
    rule.learning_rate = cosine_rate(2e-3, step, steps);
    optimiser.step(cpu, rule, gradient, weights_);
    if (progress) progress(static_cast<double>(step + 1) / steps);
  }
}

classifier::result classifier::operator()(const tempflow::cpu_backend& cpu, const_matrix_view images) const {
  result out{matrix(images.rows(), classes), matrix(images.rows(), settings_.hidden.back())};
  cpu.for_each_index(tiles_of(images.rows()), [&](tempflow::index_t tile) {
    const auto begin = tile * tile_rows, rows = std::min<Eigen::Index>(tile_rows, images.rows() - begin);
    auto t = net_.make_tape();
    t.linears.front().input = matrix::Zero(tile_rows, pixels);
    t.linears.front().input.topRows(rows) = images.middleRows(begin, rows);
    net_.forward(weights_, t);
    softmax(t.output);
    out.probabilities.middleRows(begin, rows) = t.output.topRows(rows);
    out.features.middleRows(begin, rows) = t.linears.back().input.topRows(rows);
  });
  return out;
}

double classifier::accuracy(const tempflow::cpu_backend& cpu, const_matrix_view images,
                            std::span<const tempflow::index_t> labels) const {
  const auto probabilities = (*this)(cpu, images).probabilities;
  int right = 0;
  for (Eigen::Index i = 0; i < images.rows(); ++i) {
    Eigen::Index best = 0;
    probabilities.row(i).maxCoeff(&best);
    right += best == labels[static_cast<std::size_t>(i)];
  }
  return static_cast<double>(right) / static_cast<double>(images.rows());
}

}  // namespace fashion
