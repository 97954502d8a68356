// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "perceptron.hpp"

#include <numbers>

namespace fashion {
namespace {

void activate(activation kind, matrix& x, matrix& slope) {
  if (kind == activation::relu) {
    slope = (x.array() > 0.0f).cast<float>();
    x.array() *= slope.array();
  } else {
    silu(x, slope);
  }
}

}  // namespace

perceptron::perceptron(layer_allocator& allocate, const std::vector<int>& widths, activation nonlinearity)
    : nonlinearity_{nonlinearity} {
  for (std::size_t l = 0; l + 1 < widths.size(); ++l) layers_.push_back(allocate(widths[l], widths[l + 1]));
}

void perceptron::initialise_weights(vector& weights, std::uint64_t seed) const {
  for (const auto& layer : layers_)
    initialise(layer, weights, std::numbers::sqrt2_v<float>,
               {seed, support::purpose::weights, static_cast<std::uint32_t>(layer.offset)});
}

perceptron::tape perceptron::make_tape() const {
  tape t;
  t.linears.resize(layers_.size());
  t.slopes.resize(layers_.size() - 1);
  return t;
}

void perceptron::forward(const vector& weights, tape& t) const {
  for (std::size_t l = 0; l + 1 < layers_.size(); ++l) {
    auto& next = t.linears[l + 1].input;
    apply(layers_[l], weights, t.linears[l].input, next);
    activate(nonlinearity_, next, t.slopes[l]);
  }
  apply(layers_.back(), weights, t.linears.back().input, t.output);
}

void perceptron::backward(const vector& weights, tape& t) const {
  for (std::size_t l = layers_.size() - 1; l > 0; --l) {
    apply_transposed(layers_[l], weights, t.linears[l].output_gradient, t.linears[l - 1].output_gradient);
    t.linears[l - 1].output_gradient.array() *= t.slopes[l - 1].array();
  }
}

}  // namespace fashion
