// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <tempflow/backend/cpu.hpp>

#include "data.hpp"
#include "perceptron.hpp"

namespace fashion {

struct autoencoder_settings {
  int latents = 32;
  int steps = 2000;
  std::uint64_t seed = 1;
};

/// Images to latents and back: what the variational autoencoder is to SD3 and FLUX. The flow model lives in
/// the latents, and whatever it does there, the decoder draws something like a garment.
///
/// A perceptron each way, trained on the squared error of the pixels, with noise on the latents and a pull
/// towards 0 so that neighbours in the latents look alike. Latents are standardised: mean 0 and variance 1
/// over the training images.
class autoencoder {
 public:
  explicit autoencoder(autoencoder_settings settings);

  int latents() const { return settings_.latents; }

  /// Called with the share of the training that is done.
  using report = std::function<void(double)>;
  void train(const tempflow::cpu_backend& cpu, const matrix& images, const report& progress);

  matrix encode(const tempflow::cpu_backend& cpu, const_matrix_view images) const;
  matrix decode(const tempflow::cpu_backend& cpu, const_matrix_view latents) const;

  /// All that training finds, for a checkpoint.
  vector weights;
  Eigen::RowVectorXf mean, deviation;  ///< of the raw latents

 private:
  void train_tile(const matrix& images, int step, int tile, perceptron::tape& encoding,
                  perceptron::tape& decoding) const;

  autoencoder_settings settings_;
  perceptron encoder_, decoder_;
};

}  // namespace fashion
