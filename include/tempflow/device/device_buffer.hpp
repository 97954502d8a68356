// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A batch that owns its elements in a device's memory: batch_buffer for backends with memory of their own.

#include <cstddef>
#include <memory>
#include <utility>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {

/// device/device_backend.hpp.
template <class Device>
class device_backend;

/// Elements in device memory, packed row after row; allocated and freed in the order of the backend's
/// stream. Movable.
template <storage_scalar T, class Device>
class device_buffer {
 public:
  device_buffer() = default;

  /// Elements that are yet to be written. Throws shape_error for extents that are negative or too large for
  /// memory to address, and the device's error when it has no memory left.
  device_buffer(const device_backend<Device>& backend, index_t rows, index_t columns)
      : rows_(rows), columns_(columns), backend_(std::make_unique<device_backend<Device>>(backend)) {
    detail::check_extents("device_buffer", rows, columns, sizeof(T));
    if (rows == 0 || columns == 0) return;
    elements_ = static_cast<T*>(backend.device().allocate(bytes()));
  }

  device_buffer(device_buffer&& other) noexcept { swap(other); }
  device_buffer& operator=(device_buffer&& other) noexcept {
    device_buffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~device_buffer() {
    if (elements_ != nullptr) backend_->device().release(elements_, bytes());
  }

  /// The elements. A temporary takes them with it: give it a name first.
  batch_view<T> view() & { return {elements_, rows_, columns_}; }
  batch_view<const T> view() const& { return {elements_, rows_, columns_}; }
  void view() const&& = delete;
  operator batch_view<T>() & { return view(); }
  operator batch_view<const T>() const& { return view(); }
  operator batch_view<const T>() const&& = delete;

  index_t rows() const { return rows_; }
  index_t columns() const { return columns_; }

  /// Another buffer in the same memory, with nothing in it yet.
  device_buffer like(index_t rows, index_t columns) const { return {*backend_, rows, columns}; }

  /// The backend whose memory it is in; not for a buffer that was made without one.
  const device_backend<Device>& backend() const { return *backend_; }

 private:
  std::size_t bytes() const {
    return sizeof(T) * static_cast<std::size_t>(rows_) * static_cast<std::size_t>(columns_);
  }

  void swap(device_buffer& other) noexcept {
    std::swap(elements_, other.elements_);
    std::swap(rows_, other.rows_);
    std::swap(columns_, other.columns_);
    std::swap(backend_, other.backend_);
  }

  T* elements_ = nullptr;
  index_t rows_ = 0, columns_ = 0;
  std::unique_ptr<device_backend<Device>> backend_;
};

}  // namespace tempflow
