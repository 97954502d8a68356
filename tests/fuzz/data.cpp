// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Fashion-MNIST's files, IDX in gzip: byte 0 says whether of images or labels, and whether the rest is compressed here.

#include "../../examples/fashion_mnist/data.cpp"  // its readers of one file
#include "fuzz/input.hpp"

namespace {

std::string compressed(std::string_view bytes) {
  std::string out(compressBound(bytes.size()) + 32, '\0');
  z_stream stream{};
  fuzz::require(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "zlib begins");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  fuzz::require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib ends");
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in(data, size);
  const int kind = in.choose(4);
  const fuzz::memory_file file(kind < 2 ? compressed(in.rest()) : std::string(in.rest()));
  try {
    if (kind % 2 == 0) {
      const auto images = fashion::read_images(file.path(), 1);
      constexpr float most =
          1 + 0x1p-23f;  // 255 times what 2 / 255 is in fp32, less 1, is rounded once or twice
      fuzz::require(
          images.rows() == 1 && images.cols() == fashion::pixels && images.cwiseAbs().maxCoeff() <= most,
          "pixels are in [-1, 1], but for a rounding");
    } else {
      for (const auto label : fashion::read_labels(file.path(), 5))
        fuzz::require(label >= 0 && label < 10, "labels are below 10");
    }
  } catch (const fashion::data_error& refused) {
    fuzz::require(std::string_view(refused.what()).starts_with(file.path()), "an error names its file");
  }
  return 0;
}
