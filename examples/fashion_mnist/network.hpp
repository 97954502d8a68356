// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <tempflow/backend/cpu.hpp>
#include <tempflow/core/batch_view.hpp>
#include <vector>

#include "linear.hpp"
#include "matrix.hpp"
#include "network_shape.hpp"

namespace fashion {

/// The velocity v(x, sigma, class) of a rectified flow in the latents: x = (1 - sigma) x0 + sigma n,
/// v = n - x0.
///
/// The network predicts x0 and returns v = (x - x0) / sigma. It corrects the best linear guess of x0 and
/// reads and writes numbers of unit variance: the preconditioning of Karras et al. (arXiv 2206.00364, table
/// 1), for data of variance 1. In between is a residual perceptron whose blocks are modulated by (sigma,
/// class) as in DiT (arXiv 2212.09748).
///
/// The object holds the architecture; the weights are a flat vector, so that the policy, its frozen reference
/// and its average share it. A row's velocity does not depend on the batch that it sits in.
class velocity_network {
 public:
  using states = tempflow::batch_view<const float>;   ///< rows x latents
  using sigmas = std::span<const double>;             ///< the noise level of each row
  using labels = std::span<const tempflow::index_t>;  ///< the class of each row

  explicit velocity_network(network_shape shape);

  Eigen::Index parameters() const { return parameters_of(layers_); }
  int dimension() const { return shape_.latents; }
  vector initial_weights(std::uint64_t seed) const;

  /// Everything that the gradient needs of one tile of rows.
  struct tape {
    struct block {
      matrix normalised, film, silu_slope;
      Eigen::ArrayXf inverse_std;
    };
    std::vector<linear_tape> linears;
    std::vector<block> blocks;
    matrix embedding_slope, normalised;
    Eigen::ArrayXf inverse_std;
    matrix clean;           // the network's x0
    Eigen::ArrayXf spread;  // the std of the linear guess's error, a row
  };
  using tapes = std::vector<tape>;

  /// v for each row of x, at its own noise level and class.
  void velocity(const tempflow::cpu_backend& cpu, const vector& weights, states x, sigmas sigma, labels label,
                tempflow::batch_view<float> v) const;

  /// The same bits, remembering what backward() needs.
  void forward(const tempflow::cpu_backend& cpu, const vector& weights, states x, sigmas sigma, labels label,
               tempflow::batch_view<float> v, tapes& memory) const;

  /// Adds to `gradient` a loss's gradient with respect to the weights, from its gradient with respect to v.
  void backward(const tempflow::cpu_backend& cpu, const vector& weights, sigmas sigma, states v_gradient,
                tapes& memory, vector& gradient) const;

  /// The flow matching loss of a batch of whole tiles, |v - (n - x0)|^2 averaged over rows and latents; adds
  /// its gradient.
  double flow_matching_loss(const tempflow::cpu_backend& cpu, const vector& weights, const matrix& clean,
                            const matrix& noise, sigmas sigma, labels label, tapes& memory,
                            vector& gradient) const;

 private:
  void run_tile(const vector& weights, const matrix& x, sigmas sigma, labels label, tape& t) const;
  void velocity_tile(const vector& weights, states x, sigmas sigma, labels label,
                     tempflow::batch_view<float> v, tape& t) const;
  void backward_tile(const vector& weights, const matrix& output_gradient, tape& t) const;

  network_shape shape_;
  std::vector<linear> layers_;
};

}  // namespace fashion
