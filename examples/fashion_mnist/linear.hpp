// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Dense layers over one flat vector of parameters, so that the optimiser, the average and the checkpoint each
// see one array, whatever the network.

#include <algorithm>
#include <cmath>
#include <tempflow/backend/cpu.hpp>
#include <vector>

#include "matrix.hpp"
#include "random.hpp"

namespace fashion {

/// y = x W + b. W is inputs x outputs, row-major, at `offset`; b follows it.
struct linear {
  Eigen::Index inputs = 0;
  Eigen::Index outputs = 0;
  Eigen::Index offset = 0;

  Eigen::Index parameters() const { return (inputs + 1) * outputs; }

  auto weight(const vector& p) const { return Eigen::Map<const matrix>(p.data() + offset, inputs, outputs); }
  auto weight(vector& p) const { return Eigen::Map<matrix>(p.data() + offset, inputs, outputs); }
  auto bias(const vector& p) const {
    return Eigen::Map<const Eigen::RowVectorXf>(p.data() + offset + inputs * outputs, outputs);
  }
  auto bias(vector& p) const {
    return Eigen::Map<Eigen::RowVectorXf>(p.data() + offset + inputs * outputs, outputs);
  }
};

/// What one layer remembers of one tile: its input and the gradient of its output.
struct linear_tape {
  matrix input;
  matrix output_gradient;
};

inline void apply(const linear& layer, const vector& p, const matrix& x, matrix& y) {
  y.noalias() = x * layer.weight(p);
  y.rowwise() += layer.bias(p);
}

/// The gradient with respect to the layer's input.
inline void apply_transposed(const linear& layer, const vector& p, const matrix& dy, matrix& dx) {
  dx.noalias() = dy * layer.weight(p).transpose();
}

/// x becomes silu(x); slope its derivative there.
inline void silu(matrix& x, matrix& slope) {
  slope = (1.0f + (-x.array()).exp()).inverse();
  const auto s = slope.array();
  const matrix y = x.array() * s;
  slope = s * (1.0f + (x - y).array());
  x = y;
}

/// Places layers one behind the other in the flat vector.
class layer_allocator {
 public:
  linear operator()(Eigen::Index inputs, Eigen::Index outputs) {
    const linear layer{inputs, outputs, size_};
    size_ += layer.parameters();
    return layer;
  }
  Eigen::Index size() const { return size_; }

 private:
  Eigen::Index size_ = 0;
};

/// Normal weights of standard deviation gain / sqrt(inputs), zero bias.
inline void initialise(const linear& layer, vector& p, float gain, random_stream random) {
  auto w = layer.weight(p);
  random.fill_normal(elements(w));
  w *= gain / std::sqrt(static_cast<float>(layer.inputs));
  layer.bias(p).setZero();
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
    auto rows = layers[l].weight(gradient).middleRows(begin, count);
    for (const auto& tape : tapes)
      rows.noalias() +=
          tape.linears[l].input.middleCols(begin, count).transpose() * tape.linears[l].output_gradient;
    if (begin > 0) return;
    auto bias = layers[l].bias(gradient);
    for (const auto& tape : tapes) bias += tape.linears[l].output_gradient.colwise().sum();
  });
}

}  // namespace fashion
