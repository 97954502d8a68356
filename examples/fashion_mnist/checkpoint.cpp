// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint.hpp"

#include <zlib.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

namespace fashion {
namespace {

/// The CRC-32 of `bytes` after those that gave `before`.
std::uint32_t checksum(std::string_view bytes, std::uint32_t before = 0) {
  return static_cast<std::uint32_t>(
      crc32_z(before, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

/// Which line of two fingerprints differs first, for people.
std::string first_difference(std::string_view theirs, std::string_view ours) {
  std::istringstream a{std::string(theirs)}, b{std::string(ours)};
  std::string line_a, line_b;
  while (true) {
    const bool more_a = static_cast<bool>(std::getline(a, line_a)),
               more_b = static_cast<bool>(std::getline(b, line_b));
    if (!more_a && !more_b) return "the settings differ";
    if (!more_a) line_a = "nothing";
    if (!more_b) line_b = "nothing";
    if (line_a != line_b) return "it was written with " + line_a + ", this run has " + line_b;
  }
}

}  // namespace

checkpoint_writer::checkpoint_writer(const std::filesystem::path& path, std::string_view fingerprint)
    : file_{path} {
  append(checkpoint_magic.data(), checkpoint_magic.size());
  *this << checkpoint_version << std::uint64_t{fingerprint.size()};
  append(fingerprint.data(), fingerprint.size());
}

checkpoint_writer& checkpoint_writer::append(const void* data, std::size_t size) {
  const std::string_view bytes(static_cast<const char*>(data), size);
  file_.append(bytes);
  checksum_ = checksum(bytes, checksum_);
  return *this;
}

void checkpoint_writer::commit(const std::filesystem::path& previous) {
  *this << std::uint32_t{checksum_};
  file_.commit(previous);
}

checkpoint_reader::checkpoint_reader(const std::filesystem::path& path, std::string_view fingerprint)
    : name_{path.string()} {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("cannot be opened");
  bytes_.assign(std::istreambuf_iterator<char>(file), {});
  std::uint32_t sum = 0, version = 0;
  if (bytes_.size() < checkpoint_magic.size() + sizeof version + sizeof sum)
    throw unreadable_error(name_ + " is damaged (it ends too early)");
  if (!std::string_view(bytes_).starts_with(checkpoint_magic))
    throw unreadable_error(name_ + " is not a checkpoint of this program, or damaged");
  std::memcpy(&sum, bytes_.data() + bytes_.size() - sizeof sum, sizeof sum);
  bytes_.resize(bytes_.size() - sizeof sum);
  if (sum != checksum(bytes_)) throw unreadable_error(name_ + " is damaged (its checksum does not match)");
  position_ = checkpoint_magic.size();
  *this >> version;
  if (version != checkpoint_version)
    throw unreadable_error(name_ + " has format version " + std::to_string(version) + ", expected " +
                           std::to_string(checkpoint_version));
  std::vector<char> stored;
  *this >> stored;
  const std::string_view theirs(stored.data(), stored.size());
  if (theirs != fingerprint) fail("belongs to other settings: " + first_difference(theirs, fingerprint));
}

checkpoint_reader& checkpoint_reader::extract(void* data, std::size_t size) {
  if (size > bytes_.size() - position_) fail("holds less than it should");
  if (size > 0) std::memcpy(data, bytes_.data() + position_, size);
  position_ += size;
  return *this;
}

void checkpoint_reader::check_count(std::uint64_t count, std::size_t size) const {
  if (count > (bytes_.size() - position_) / size) fail("holds less than it should");
}

void checkpoint_reader::check_shape(std::int64_t rows, std::int64_t columns, std::int64_t expected_rows,
                                    std::int64_t expected_columns, std::size_t size) const {
  const bool fits = rows == expected_rows && columns == expected_columns;
  if (rows < 0 || columns < 0 || !fits)
    fail("holds a " + std::to_string(rows) + " x " + std::to_string(columns) + " array where a " +
         std::to_string(expected_rows) + " x " + std::to_string(expected_columns) + " one belongs");
  // By a division, since the product of what a damaged file says may be any number, 0 too.
  const std::uint64_t most = (bytes_.size() - position_) / size;
  if (columns > 0 && static_cast<std::uint64_t>(rows) > most / static_cast<std::uint64_t>(columns))
    fail("holds less than it should");
}

void checkpoint_reader::expect_end() const {
  if (position_ != bytes_.size()) fail("holds more than it should");
}

void checkpoint_reader::fail(const std::string& what) const { throw checkpoint_error(name_ + ' ' + what); }

}  // namespace fashion
