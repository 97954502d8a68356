// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "pictures.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "support/durable_file.hpp"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb_image_write.h>

namespace fashion {
namespace {

std::uint8_t to_byte(float pixel) {
  return static_cast<std::uint8_t>(std::lround((std::clamp(pixel, -1.0f, 1.0f) + 1.0f) * 127.5f));
}

}  // namespace

void write_grid(const std::filesystem::path& path, const_matrix_view images, int columns) {
  constexpr int zoom = 2, gap = 2, cell = zoom * image_side + gap;
  const int rows = (static_cast<int>(images.rows()) + columns - 1) / columns;
  const int width = columns * cell + gap, height = rows * cell + gap;
  std::vector<std::uint8_t> canvas(static_cast<std::size_t>(width) * static_cast<std::size_t>(height), 255);
  for (int i = 0; i < images.rows(); ++i)
    for (int y = 0; y < zoom * image_side; ++y)
      for (int x = 0; x < zoom * image_side; ++x) {
        const int top = gap + i / columns * cell, left = gap + i % columns * cell;
        // Ink on paper: the data are white on black.
        canvas[static_cast<std::size_t>((top + y) * width + left + x)] =
            static_cast<std::uint8_t>(255 - to_byte(images(i, y / zoom * image_side + x / zoom)));
      }
  std::string png;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data),
                                               static_cast<std::size_t>(size));
  };
  if (!stbi_write_png_to_func(append, &png, width, height, 1, canvas.data(), width))
    throw support::output_error("cannot encode " + path.string());
  support::write_file_atomically(path, png);
}

double jpeg_kilobytes(std::span<const float> image, int quality) {
  std::vector<std::uint8_t> bytes(image.size());
  std::transform(image.begin(), image.end(), bytes.begin(), to_byte);
  double size = 0;
  const auto count = [](void* context, void*, int written) { *static_cast<double*>(context) += written; };
  stbi_write_jpg_to_func(count, &size, image_side, image_side, 1, bytes.data(), quality);
  return size / 1000;
}

}  // namespace fashion
