// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string_view>

namespace support {

/// A result could not be written.
struct output_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// An open file for writing. Closes itself. All throw output_error.
class descriptor {
 public:
  descriptor(const std::filesystem::path& path, int flags);
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  ~descriptor();

  void write_all(std::string_view bytes);
  void flush();

 private:
  [[noreturn]] void fail(const char* action) const;
  std::filesystem::path path_;
  int value_;
};

/// A file written so that a crash at any moment leaves either the old one or the new one, complete: to a
/// temporary file, flushed to the disk, then renamed. Without a commit, nothing is left. All throw
/// output_error.
class atomic_file {
 public:
  explicit atomic_file(const std::filesystem::path& path);
  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;
  ~atomic_file();

  void append(std::string_view bytes) { file_.write_all(bytes); }

  /// Puts the file in its place. An older one there first moves to `previous`, if that is named; a crash
  /// between the two leaves `previous` alone.
  void commit(const std::filesystem::path& previous = {});

 private:
  std::filesystem::path path_, temporary_;
  descriptor file_;
  bool committed_ = false;
};

/// Writes `bytes` as an atomic_file.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// Removes a file, and what a killed process left of an atomic_file on its way there. A folder that can only be
/// read keeps them.
void discard_file(const std::filesystem::path& path);

}  // namespace support
