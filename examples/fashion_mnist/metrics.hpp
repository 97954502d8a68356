// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "classifier.hpp"
#include "matrix.hpp"

namespace fashion {

/// A Gaussian fitted to features: what the Frechet distance compares.
struct feature_statistics {
  Eigen::VectorXd mean;
  Eigen::MatrixXd covariance;
};

feature_statistics fit_features(const matrix& features);

/// |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): the distance of Heusel et al. (arXiv 1706.08500), in the
/// features given.
double frechet_distance(const feature_statistics& a, const feature_statistics& b);

/// The standard deviation of a pixel over the samples of a prompt, averaged over pixels and prompts.
double diversity(const_matrix_view images, std::span<const tempflow::index_t> labels);

}  // namespace fashion
