// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>

#include "matrix.hpp"

namespace fashion {

/// Writes rows of images as a PNG grid, `columns` a row, each pixel drawn as 2 x 2. Throws output_error.
void write_grid(const std::filesystem::path& path, const_matrix_view images, int columns);

/// The size in kilobytes of one image as a JPEG of this quality: what the compressibility reward negates.
double jpeg_kilobytes(std::span<const float> image, int quality);

}  // namespace fashion
