// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "metrics.hpp"

#include <algorithm>
#include <Eigen/Eigenvalues>

namespace fashion {
namespace {

Eigen::MatrixXd square_root(const Eigen::MatrixXd& symmetric) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(symmetric);
  // Rounding may leave tiny negative eigenvalues.
  return solver.eigenvectors() * solver.eigenvalues().cwiseMax(0.0).cwiseSqrt().asDiagonal() *
         solver.eigenvectors().transpose();
}

}  // namespace

feature_statistics fit_features(const matrix& features) {
  const Eigen::MatrixXd f = features.cast<double>();
  const Eigen::RowVectorXd mean = f.colwise().mean();
  const Eigen::MatrixXd centred = f.rowwise() - mean;
  return {mean.transpose(), centred.transpose() * centred / static_cast<double>(f.rows() - 1)};
}

double frechet_distance(const feature_statistics& a, const feature_statistics& b) {
  // tr (Ca Cb)^(1/2) = tr (Ca^(1/2) Cb Ca^(1/2))^(1/2), whose argument is symmetric.
  const Eigen::MatrixXd root = square_root(a.covariance);
  const double cross = square_root(root * b.covariance * root).trace();
  const double distance =
      (a.mean - b.mean).squaredNorm() + a.covariance.trace() + b.covariance.trace() - 2 * cross;
  return std::max(distance, 0.0);  // rounding may leave a tiny negative one
}

double diversity(const_matrix_view images, std::span<const tempflow::index_t> labels) {
  double total = 0;
  int prompts = 0;
  for (int label = 0; label < classes; ++label) {
    Eigen::ArrayXXd sums = Eigen::ArrayXXd::Zero(2, images.cols());
    double count = 0;
    for (Eigen::Index i = 0; i < images.rows(); ++i) {
      if (labels[static_cast<std::size_t>(i)] != label) continue;
      const auto row = images.row(i).cast<double>().array();
      sums.row(0) += row;
      sums.row(1) += row.square();
      ++count;
    }
    if (count < 2) continue;
    total += ((sums.row(1) / count - (sums.row(0) / count).square()).max(0.0)).sqrt().mean();
    ++prompts;
  }
  return prompts ? total / prompts : 0.0;
}

}  // namespace fashion
