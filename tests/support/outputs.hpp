// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Outputs full of sentinels, to see that a failed call wrote nothing.

#include <cstddef>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"

namespace support {

/// Remembers what some memory holds.
class unchanged {
 public:
  template <class T>
  explicit unchanged(std::span<T> memory)
      : memory_(std::as_bytes(memory)), before_(memory_.begin(), memory_.end()) {}
  template <class T>
  explicit unchanged(batch_buffer<T>& batch)
      : unchanged(
            std::span<T>(batch.view().data(), static_cast<std::size_t>(batch.rows() * batch.columns()))) {}

  explicit operator bool() const {
    return memory_.empty() || std::memcmp(memory_.data(), before_.data(), before_.size()) == 0;
  }

 private:
  std::span<const std::byte> memory_;
  std::vector<std::byte> before_;
};

/// Calls `act` and checks that it throws Error with a message that holds all the texts.
template <class Error, class Act>
void check_throws(const Act& act, const std::vector<std::string>& texts) {
  std::string message = "(nothing was thrown)";
  bool thrown = false;
  try {
    act();
  } catch (const Error& failure) {
    thrown = true;
    message = failure.what();
  } catch (const std::exception& failure) {
    message = std::string("(another type) ") + failure.what();
  }
  INFO("message: " << message);
  CHECK(thrown);
  for (const auto& text : texts) {
    INFO("expected in it: " << text);
    CHECK(message.find(text) != std::string::npos);
  }
}

}  // namespace support
