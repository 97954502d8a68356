// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The velocity network as far as it is the same on every device: its sizes, where its weights lie, and what
// is computed from a row's noise level.

#include <cmath>
#include <numbers>
#include <tempflow/config.hpp>
#include <vector>

#include "layout.hpp"
#include "task.hpp"

namespace fashion {

inline constexpr int frequencies = 16;
inline constexpr int conditions = 2 * frequencies + classes;  ///< sines and cosines of sigma, class one-hot
inline constexpr int embedding = 64;
inline constexpr float norm_epsilon = 1e-5f;

/// The argument of the k-th sine and cosine.
TEMPFLOW_HD inline float sigma_angle(float sigma, int k) {
  return std::numbers::pi_v<float> * sigma * std::exp2(static_cast<float>(k) * 0.4f - 1.0f);
}

/// Where v = (x - x0) / sigma comes from. x has variance (1 - sigma)^2 + sigma^2; given x, x0 has the mean
/// `guess` times the scaled x, and the std `spread`.
struct preconditioning {
  float scale;    ///< makes x of variance 1: the network's input
  float guess;    ///< from there to the best linear guess of x0
  float spread;   ///< of the guess's error: what the network's output is scaled by
  float divisor;  ///< sigma, but v is kept finite at the data's end

  TEMPFLOW_HD explicit preconditioning(float sigma)
      : scale(1.0f / std::sqrt((1 - sigma) * (1 - sigma) + sigma * sigma)),
        guess((1 - sigma) * scale),
        spread(sigma * scale),
        divisor(sigma < 0.02f ? 0.02f : sigma) {}
};

struct network_shape {
  int latents = 32;  ///< dimension of the flow
  int width = 384;
  int blocks = 3;

  /// embed, input, then (film, up, down) a block, then output.
  std::vector<linear> layers() const {
    layer_allocator allocate;
    std::vector<linear> layers{allocate(conditions, embedding), allocate(latents, width)};
    for (int b = 0; b < blocks; ++b) {
      layers.push_back(allocate(embedding, 2 * width));
      layers.push_back(allocate(width, width));
      layers.push_back(allocate(width, width));
    }
    layers.push_back(allocate(width, latents));
    return layers;
  }
};

/// The length of the flat vector.
inline tempflow::index_t parameters_of(const std::vector<linear>& layers) {
  return layers.back().offset + layers.back().parameters();
}

}  // namespace fashion
