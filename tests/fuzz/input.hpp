// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What fuzz targets share: values made of a fuzzer's bytes, and files that hold them.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace fuzz {

/// Reads values off the front of the bytes; zeros once they are used up.
class input {
 public:
  input(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  template <class T>
  T take() {
    T value{};
    const std::size_t size = rest_.size() < sizeof value ? rest_.size() : sizeof value;
    std::memcpy(&value, rest_.data(), size);
    rest_.remove_prefix(size);
    return value;
  }
  /// One of `count` choices.
  int choose(int count) { return take<std::uint8_t>() % count; }
  bool flip() { return choose(2) == 1; }

  /// An integer: small ones mostly, and now and then anything.
  std::int64_t integer() {
    const auto first = take<std::int8_t>();
    return first == -128 ? take<std::int64_t>() : first == -127 ? take<std::int32_t>() : first;
  }
  /// A number: eighths mostly, and now and then anything.
  double number() {
    const auto first = take<std::int8_t>();
    return first == -128 ? take<double>() : first / 8.0;
  }
  std::string_view rest() const { return rest_; }
  bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

/// Ends the program, as a sanitizer would, unless the condition holds.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// A file in memory.
class memory_file {
 public:
  explicit memory_file(std::string_view bytes) : descriptor_(memfd_create("fuzz", 0)) {
    for (std::size_t at = 0; at < bytes.size();) {
      const auto written = ::write(descriptor_, bytes.data() + at, bytes.size() - at);
      require(written > 0, "the file can be written");
      at += static_cast<std::size_t>(written);
    }
  }
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;
  ~memory_file() { ::close(descriptor_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace fuzz
