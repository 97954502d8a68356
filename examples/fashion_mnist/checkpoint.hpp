// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "errors.hpp"
#include "matrix.hpp"
#include "support/durable_file.hpp"

namespace fashion {

/// What a checkpoint begins with.
inline constexpr std::string_view checkpoint_magic = "tempflow fashion\n";
inline constexpr std::uint32_t checkpoint_version = 2;

/// The state of a computation on its way to a file: straight to it, since a copy in memory takes longer than
/// the write.
///
/// The file is: magic, format version, fingerprint, state, CRC-32 of all before it. Numbers are in the
/// machine's own byte order: a checkpoint is for the machine that wrote it.
class checkpoint_writer {
 public:
  /// `fingerprint`: the settings that determine the state, as "name=value" lines. Throws output_error, as all
  /// that follows.
  checkpoint_writer(const std::filesystem::path& path, std::string_view fingerprint);

  template <class T>
  requires std::is_trivially_copyable_v<T> checkpoint_writer& operator<<(const T& value) {
    return append(&value, sizeof value);
  }
  template <class T>
  checkpoint_writer& operator<<(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    return (*this << std::uint64_t{values.size()}).append(values.data(), values.size() * sizeof(T));
  }
  template <class Scalar, int Rows, int Columns, int Options>
  checkpoint_writer& operator<<(const Eigen::Matrix<Scalar, Rows, Columns, Options>& m) {
    *this << std::int64_t{m.rows()} << std::int64_t{m.cols()};
    return append(m.data(), static_cast<std::size_t>(m.size()) * sizeof(Scalar));
  }

  /// Completes the file and puts it in its place, as atomic_file::commit; until then an older one stays there.
  void commit(const std::filesystem::path& previous = {});

 private:
  checkpoint_writer& append(const void* data, std::size_t size);
  support::atomic_file file_;
  std::uint32_t checksum_ = 0;
};

/// Reads what a checkpoint_writer wrote, in the same order. Each failure is a checkpoint_error that names the
/// file.
class checkpoint_reader {
 public:
  /// Throws unreadable_error, and checkpoint_error when the fingerprint is another, naming the first setting
  /// that differs.
  checkpoint_reader(const std::filesystem::path& path, std::string_view fingerprint);

  template <class T>
  requires std::is_trivially_copyable_v<T> checkpoint_reader& operator>>(T& value) {
    return extract(&value, sizeof value);
  }
  template <class T>
  checkpoint_reader& operator>>(std::vector<T>& values) {
    std::uint64_t size = 0;
    *this >> size;
    check_count(size, sizeof(T));
    values.resize(size);
    return extract(values.data(), size * sizeof(T));
  }
  /// A matrix that already has a shape must be stored with that shape.
  template <class Scalar, int Rows, int Columns, int Options>
  checkpoint_reader& operator>>(Eigen::Matrix<Scalar, Rows, Columns, Options>& m) {
    std::int64_t rows = 0, columns = 0;
    *this >> rows >> columns;
    const auto expected = [&](int of_type, std::int64_t present, std::int64_t stored) {
      return of_type != Eigen::Dynamic ? of_type : m.size() != 0 ? present : stored;
    };
    check_shape(rows, columns, expected(Rows, m.rows(), rows), expected(Columns, m.cols(), columns),
                sizeof(Scalar));
    m.resize(rows, columns);
    return extract(m.data(), static_cast<std::size_t>(m.size()) * sizeof(Scalar));
  }

  /// Throws checkpoint_error unless everything was read.
  void expect_end() const;

 private:
  checkpoint_reader& extract(void* data, std::size_t size);
  void check_count(std::uint64_t count, std::size_t size) const;
  void check_shape(std::int64_t rows, std::int64_t columns, std::int64_t expected_rows,
                   std::int64_t expected_columns, std::size_t size) const;
  [[noreturn]] void fail(const std::string& what) const;

  std::string name_;
  std::string bytes_;
  std::size_t position_ = 0;
};

}  // namespace fashion
