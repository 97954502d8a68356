// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Checkpoints of the Fashion-MNIST example: any bytes, behind the header and before the checksum that make them worth
// reading, or without these. Byte 0 says which, the next up to a 0 what is read.

#include "checkpoint.hpp"

#include <zlib.h>

#include <vector>

#include "fuzz/input.hpp"

namespace {

constexpr std::string_view fingerprint = "seed=1\nwidth=384\n";

std::string as_checkpoint(std::string_view state) {
  std::string bytes(fashion::checkpoint_magic);
  const auto append = [&bytes](const auto& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  append(fashion::checkpoint_version);
  append(std::uint64_t{fingerprint.size()});
  bytes += fingerprint;
  bytes += state;
  append(static_cast<std::uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size())));
  return bytes;
}

/// Reads something of the kind that a byte says.
void read(fashion::checkpoint_reader& reader, char kind) {
  std::uint64_t number = 0;
  std::vector<double> doubles;
  std::vector<char> text;
  Eigen::MatrixXf any;
  Eigen::MatrixXf shaped(2, 3);
  Eigen::Matrix<double, Eigen::Dynamic, 1> column;
  switch (kind % 6) {
    case 0: reader >> number; break;
    case 1: reader >> doubles; break;
    case 2: reader >> text; break;
    case 3: reader >> any; break;
    case 4:
      reader >> shaped;
      fuzz::require(shaped.rows() == 2 && shaped.cols() == 3, "a matrix keeps its shape");
      break;
    default: reader >> column;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool reaches_the_state = [] {  // or as_checkpoint does not write what is read
    const fuzz::memory_file file(as_checkpoint({}));
    fashion::checkpoint_reader(file.path(), fingerprint).expect_end();
    return true;
  }();
  fuzz::require(reaches_the_state, "a checkpoint without a state is read to its end");
  fuzz::input in(data, size);
  const bool whole = in.flip();
  std::string kinds;
  for (char kind; !in.empty() && kinds.size() < 8 && (kind = in.take<char>()) != 0;) kinds += kind;
  const fuzz::memory_file file(whole ? std::string(in.rest()) : as_checkpoint(in.rest()));
  try {
    fashion::checkpoint_reader reader(file.path(), fingerprint);
    for (const char kind : kinds) read(reader, static_cast<char>(kind & 0x7f));
    reader.expect_end();
  } catch (const fashion::checkpoint_error& refused) {
    fuzz::require(std::string_view(refused.what()).starts_with(file.path()), "an error names its file");
  }
  return 0;
}
