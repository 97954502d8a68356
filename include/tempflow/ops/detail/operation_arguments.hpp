// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where the arguments of one operation lie: decides who reads them and what waits. To ask a driver costs
// about as much as to check a small batch, so it is asked once for each address.

#include <string_view>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/error.hpp"

namespace tempflow::detail {

/// Those of a host backend: all in host memory.
template <backend B>
class operation_arguments {
  static_assert(host_backend<B>, "tempflow: a backend with a memory_space must model device_memory_backend");

 public:
  explicit operation_arguments(const B& backend) : backend_(backend) {}

  const B& backend() const { return backend_; }

  /// Whether the host reads an argument there when an operation is called, or the device does in stream
  /// order.
  bool host_reads(const void*) const { return true; }

  /// Throws memory_error unless the host can read an argument there when an operation is called.
  void check_host_reads(std::string_view, std::string_view, const void*) const {}

  /// Throws memory_error unless kernels can read an argument there.
  void check_kernels_read(std::string_view, std::string_view, const void*) const {}

  /// Throws memory_error where a result in host memory cannot be waited for. For operations of several kernels: each
  /// would only say so itself.
  void check_result(std::string_view, std::string_view, const void*) const {}

  /// Throws memory_error unless the host can read a result there, after waiting for it.
  void check_host_waits(std::string_view, const void*) const {}

  /// Waits for the operation's results.
  void wait() const {}

 private:
  const B& backend_;
};

/// Those of a backend with memory of its own.
template <device_memory_backend B>
class operation_arguments<B> {
 public:
  explicit operation_arguments(const B& backend) : backend_(backend) {}

  const B& backend() const { return backend_; }

  /// Where an address lies.
  memory_kind memory_of(const void* address) const {
    for (int i = 0; i < known_; ++i) {
      if (addresses_[i] == address) return kinds_[i];
    }
    const memory_kind kind = backend_.memory_of(address);
    if (known_ < most) addresses_[known_] = address, kinds_[known_++] = kind;
    return kind;
  }

  /// A null address is a value that was given with the call.
  bool host_reads(const void* address) const {
    return address == nullptr || memory_of(address) == memory_kind::host;
  }

  void check_host_reads(std::string_view operation, std::string_view name, const void* argument) const {
    if (argument != nullptr && memory_of(argument) == memory_kind::device) {
      throw memory_error(message(operation, ": the host reads ", name, ", which lie in device memory"));
    }
  }

  void check_kernels_read(std::string_view operation, std::string_view name, const void* argument) const {
    if (argument != nullptr && memory_of(argument) == memory_kind::host) {
      throw memory_error(message(operation, ": ", name,
                                 " lies in host memory, which the device does not reach; it must lie where ",
                                 "the batches do"));
    }
  }

  void check_result(std::string_view operation, std::string_view name, const void* result) const {
    if (result != nullptr && memory_of(result) == memory_kind::host && backend_.capturing()) {
      throw memory_error(
          message(operation, ": ", name,
                  " lies in host memory, which cannot be waited for while the stream is being ",
                  "captured; use device, managed or pinned memory"));
    }
  }

  void check_host_waits(std::string_view operation, const void* result) const {
    if (result == nullptr) return;
    if (memory_of(result) == memory_kind::device) {
      throw memory_error(message(operation, ": the host reads the result, which lies in device memory"));
    }
    if (backend_.capturing()) {
      throw memory_error(message(operation, ": the host waits for the result, which it cannot while the ",
                                 "stream is being captured"));
    }
  }

  void wait() const { backend_.synchronize(); }

 private:
  static constexpr int most = 20;  ///< max_rewards of a sum, their groups and the advantages, and some

  const B& backend_;
  mutable int known_ = 0;
  mutable const void* addresses_[most];
  mutable memory_kind kinds_[most];
};

}  // namespace tempflow::detail
