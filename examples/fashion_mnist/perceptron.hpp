// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "linear.hpp"

namespace fashion {

enum class activation { relu, silu };

/// Dense layers with an activation between them. Its weights lie in its owner's flat vector; it works a tile
/// at a time.
class perceptron {
 public:
  perceptron() = default;

  /// widths: of the input, each hidden layer and the output.
  perceptron(layer_allocator& allocate, const std::vector<int>& widths, activation nonlinearity);

  struct tape {
    std::vector<linear_tape> linears;
    std::vector<matrix> slopes;
    matrix output;
  };

  const std::vector<linear>& layers() const { return layers_; }
  void initialise_weights(vector& weights, std::uint64_t seed) const;

  /// From t.linears.front().input to t.output.
  void forward(const vector& weights, tape& t) const;

  /// From t.linears.back().output_gradient to those of all layers.
  void backward(const vector& weights, tape& t) const;

  /// The tape, with room for each layer.
  tape make_tape() const;

 private:
  std::vector<linear> layers_;
  activation nonlinearity_ = activation::relu;
};

}  // namespace fashion
