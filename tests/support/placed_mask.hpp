// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Masks in the memory of a device.

#include <cstdint>
#include <cstring>

#include "support/masks.hpp"
#include "support/test_device.hpp"

namespace support {

using tempflow::element_mask;

/// A mask in the memory of a device, wherever its rows begin.
class placed_mask {
 public:
  placed_mask(const test_device& backend, const mask_bytes& from, layout shape = {})
      : rows_(from.view().rows()), columns_(from.view().columns()), shape_(shape) {
    const index_t bytes = shape.offset + rows_ * (columns_ + shape.padding);
    batch_buffer<double> host(1, bytes / 8 + 1);
    auto* const to = reinterpret_cast<std::uint8_t*>(host.view().data());
    std::memset(to, 1, static_cast<std::size_t>(bytes));
    for (index_t i = 0; i < rows_; ++i) {
      std::memcpy(to + shape.offset + i * (columns_ + shape.padding), from.view().row(i),
                  static_cast<std::size_t>(columns_));
    }
    memory_ = tempflow::from_host(backend, host.view());
  }

  operator element_mask() {
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(memory_.view().data());
    return {bytes + shape_.offset, rows_, columns_, columns_ + shape_.padding};
  }

 private:
  index_t rows_, columns_;
  layout shape_;
  tempflow::buffer_of<test_device, double> memory_;
};

}  // namespace support
