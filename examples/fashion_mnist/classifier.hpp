// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <tempflow/backend/cpu.hpp>

#include "data.hpp"
#include "perceptron.hpp"

namespace fashion {

struct classifier_settings {
  std::vector<int> hidden;
  activation nonlinearity = activation::relu;
  int epochs = 4;
  float noise = 0.1f;  ///< standard deviation of the noise added to training pixels
  std::uint64_t seed = 1;
};

/// A perceptron from an image to its class. One serves as the reward, another as the judge.
class classifier {
 public:
  explicit classifier(classifier_settings settings);

  Eigen::Index parameters() const { return weights_.size(); }
  const vector& weights() const { return weights_; }
  void set_weights(vector weights) { weights_ = std::move(weights); }

  /// Called with the share of the training that is done.
  using report = std::function<void(double)>;
  void train(const tempflow::cpu_backend& cpu, const labelled_images& data, const report& progress);

  struct result {
    matrix probabilities;  ///< rows x classes
    matrix features;       ///< the last hidden layer, rows x its width
  };
  result operator()(const tempflow::cpu_backend& cpu, const_matrix_view images) const;

  double accuracy(const tempflow::cpu_backend& cpu, const_matrix_view images,
                  std::span<const tempflow::index_t> labels) const;

 private:
  classifier_settings settings_;
  perceptron net_;
  vector weights_;
};

}  // namespace fashion
