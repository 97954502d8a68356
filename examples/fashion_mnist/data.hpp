// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "matrix.hpp"

#include <filesystem>
#include <tempflow/core/index.hpp>
#include <vector>

namespace fashion {

struct labelled_images {
  matrix images;                          ///< one image a row, pixels in [-1, 1]
  std::vector<tempflow::index_t> labels;  ///< the class of each row, 0 to 9

  Eigen::Index size() const { return images.rows(); }
};

struct dataset {
  labelled_images train;
  labelled_images test;
};

/// Reads the four gzip-compressed IDX files of Fashion-MNIST. Throws data_error, naming the file and what is
/// wrong.
dataset read_dataset(const std::filesystem::path& folder);

}  // namespace fashion
