// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "durable_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

namespace support {
namespace {

std::filesystem::path temporary_of(const std::filesystem::path& path) { return path.string() + ".tmp"; }

void move_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::rename(from, to, error);
  if (error)
    throw output_error("cannot rename " + from.string() + " to " + to.string() + ": " + error.message());
}

}  // namespace

descriptor::descriptor(const std::filesystem::path& path, int flags)
    : path_{path}, value_{open(path.c_str(), flags | O_CLOEXEC, 0644)} {
  if (value_ < 0) fail("open");
}

descriptor::~descriptor() { close(value_); }

void descriptor::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(value_, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) fail("write");
    if (written > 0) bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void descriptor::flush() {
  if (fsync(value_) != 0) fail("flush");
}

void descriptor::fail(const char* action) const {
  throw output_error(std::string("cannot ") + action + ' ' + path_.string() + ": " + std::strerror(errno));
}

atomic_file::atomic_file(const std::filesystem::path& path)
    : path_{path}, temporary_{temporary_of(path)}, file_{temporary_, O_WRONLY | O_CREAT | O_TRUNC} {}

atomic_file::~atomic_file() {
  std::error_code ignored;  // an exception is on its way already
  if (!committed_) std::filesystem::remove(temporary_, ignored);
}

void atomic_file::commit(const std::filesystem::path& previous) {
  file_.flush();
  if (!previous.empty() && std::filesystem::exists(path_)) move_file(path_, previous);
  move_file(temporary_, path_);
  committed_ = true;
  // The rename itself lives in the folder: flush that too.
  descriptor(path_.has_parent_path() ? path_.parent_path() : ".", O_RDONLY | O_DIRECTORY).flush();
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  atomic_file file(path);
  file.append(bytes);
  file.commit();
}

void discard_file(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  std::filesystem::remove(temporary_of(path), ignored);
}

}  // namespace support
