// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Dense layers over one flat vector of parameters, so that the optimiser, the average and the checkpoint each
// see one array, whatever the network.

#include <algorithm>
#include <cmath>
#include <tempflow/backend/cpu.hpp>
#include <vector>

#include "layout.hpp"
#include "matrix.hpp"
#include "support/random.hpp"

namespace fashion {

/// The layer's W and b in a flat vector.
inline auto weight(const linear& layer, const vector& p) {
  return Eigen::Map<const matrix>(p.data() + layer.offset, layer.inputs, layer.outputs);
}
inline auto weight(const linear& layer, vector& p) {
  return Eigen::Map<matrix>(p.data() + layer.offset, layer.inputs, layer.outputs);
}
inline auto bias(const linear& layer, const vector& p) {
  return Eigen::Map<const Eigen::RowVectorXf>(p.data() + layer.offset + layer.inputs * layer.outputs,
                                              layer.outputs);
}
inline auto bias(const linear& layer, vector& p) {
  return Eigen::Map<Eigen::RowVectorXf>(p.data() + layer.offset + layer.inputs * layer.outputs,
                                        layer.outputs);
}

/// What one layer remembers of one tile: its input and the gradient of its output.
struct linear_tape {
  matrix input;
  matrix output_gradient;
};

inline void apply(const linear& layer, const vector& p, const matrix& x, matrix& y) {
  y.noalias() = x * weight(layer, p);
  y.rowwise() += bias(layer, p);
}

/// The gradient with respect to the layer's input.
inline void apply_transposed(const linear& layer, const vector& p, const matrix& dy, matrix& dx) {
  dx.noalias() = dy * weight(layer, p).transpose();
}

/// x becomes silu(x); slope its derivative there.
inline void silu(matrix& x, matrix& slope) {
  slope = (1.0f + (-x.array()).exp()).inverse();
  const auto s = slope.array();
  const matrix y = x.array() * s;
  slope = s * (1.0f + (x - y).array());
  x = y;
}

/// Normal weights of standard deviation gain / sqrt(inputs), zero bias.
inline void initialise(const linear& layer, vector& p, float gain, support::random_stream random) {
  auto w = weight(layer, p);
  random.fill_normal(elements(w));
  w *= gain / std::sqrt(static_cast<float>(layer.inputs));
  bias(layer, p).setZero();
}

/// Adds the weight gradients of `layers` over all tiles: gradient += sum_t input_t^T output_gradient_t. Each
/// task owns a block of a layer's rows and adds the tiles in order, so the bits do not depend on the threads.
template <class Tape>
void add_weight_gradients(const tempflow::cpu_backend& cpu, const std::vector<linear>& layers,
                          const std::vector<Tape>& tapes, vector& gradient) {
  struct task {
    std::size_t layer;
    Eigen::Index begin, count;
  };
  constexpr Eigen::Index block = 128;
  std::vector<task> tasks;
  for (std::size_t l = 0; l < layers.size(); ++l)
    for (Eigen::Index i = 0; i < layers[l].inputs; i += block)
      tasks.push_back({l, i, std::min(block, layers[l].inputs - i)});
  cpu.for_each_index(static_cast<tempflow::index_t>(tasks.size()), [&](tempflow::index_t i) {
    const auto [l, begin, count] = tasks[static_cast<std::size_t>(i)];
    auto rows = weight(layers[l], gradient).middleRows(begin, count);
    for (const auto& tape : tapes)
      rows.noalias() +=
          tape.linears[l].input.middleCols(begin, count).transpose() * tape.linears[l].output_gradient;
    if (begin > 0) return;
    auto b = bias(layers[l], gradient);
    for (const auto& tape : tapes) b += tape.linears[l].output_gradient.colwise().sum();
  });
}

}  // namespace fashion
