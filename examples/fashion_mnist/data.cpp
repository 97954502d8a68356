// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "data.hpp"

#include "errors.hpp"

#include <zlib.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>

namespace fashion {
namespace {

/// A gzip file read front to back; each failure names the file.
class gzip_reader {
 public:
  explicit gzip_reader(std::filesystem::path path)
      : path_{std::move(path)}, file_{gzopen(path_.c_str(), "rb")} {
    if (!file_) fail("cannot be opened; give the folder of the Fashion-MNIST files with --data");
  }

  void read(std::span<std::uint8_t> bytes) {
    const int got = gzread(file_.get(), bytes.data(), static_cast<unsigned>(bytes.size()));
    if (got < 0) fail("is not a valid gzip file");
    if (static_cast<std::size_t>(got) != bytes.size()) fail("ends too early");
  }

  std::uint32_t read_big_endian() {
    std::array<std::uint8_t, 4> b{};
    read(b);
    return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | b[3];
  }

  void expect(std::uint32_t wanted, const std::string& what) {
    const auto got = read_big_endian();
    if (got != wanted) fail(what + " is " + std::to_string(got) + ", expected " + std::to_string(wanted));
  }

  [[noreturn]] void fail(const std::string& what) const { throw data_error(path_.string() + ": " + what); }

 private:
  struct closer {
    void operator()(gzFile f) const { gzclose(f); }
  };
  std::filesystem::path path_;
  std::unique_ptr<gzFile_s, closer> file_;
};

matrix read_images(const std::filesystem::path& path, std::uint32_t count) {
  gzip_reader file{path};
  file.expect(0x803, "the IDX magic number");
  file.expect(count, "the number of images");
  file.expect(image_side, "the image height");
  file.expect(image_side, "the image width");
  std::vector<std::uint8_t> bytes(std::size_t{count} * pixels);
  file.read(bytes);
  using byte_matrix = Eigen::Matrix<std::uint8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const byte_matrix> raw(bytes.data(), count, pixels);
  return raw.cast<float>() * (2.0f / 255.0f) - matrix::Ones(count, pixels);
}

std::vector<tempflow::index_t> read_labels(const std::filesystem::path& path, std::uint32_t count) {
  gzip_reader file{path};
  file.expect(0x801, "the IDX magic number");
  file.expect(count, "the number of labels");
  std::vector<std::uint8_t> bytes(count);
  file.read(bytes);
  for (const auto label : bytes)
    if (label >= classes) file.fail("holds the label " + std::to_string(label) + ", expected 0 to 9");
  return {bytes.begin(), bytes.end()};
}

}  // namespace

dataset read_dataset(const std::filesystem::path& folder) {
  constexpr std::uint32_t train = 60000, test = 10000;
  return {{read_images(folder / "train-images-idx3-ubyte.gz", train),
           read_labels(folder / "train-labels-idx1-ubyte.gz", train)},
          {read_images(folder / "t10k-images-idx3-ubyte.gz", test),
           read_labels(folder / "t10k-labels-idx1-ubyte.gz", test)}};
}

}  // namespace fashion
