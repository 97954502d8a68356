// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Masks of elements, and batches that hold NaN where a mask leaves elements out.

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "support/batches.hpp"
#include "tempflow/core/element_mask.hpp"

namespace support {

/// Bytes of a mask: a stretch that is left out, as a first frame is, and a random half of the others. The last element
/// of each row counts, by various bytes.
class mask_bytes {
 public:
  mask_bytes(index_t rows, index_t columns, std::uint64_t seed)
      : rows_(rows), columns_(columns), bytes_(static_cast<std::size_t>(rows * columns)) {
    numbers source(seed);
    for (index_t i = 0; i < rows; ++i) {
      const index_t stretch = columns / 4 * (i % 4);
      for (index_t e = 0; e < columns; ++e) {
        const bool counts = e == columns - 1 || (e >= stretch && source.next() < 0);
        at(i, e) = static_cast<std::uint8_t>(!counts ? 0 : e % 3 == 0 ? 1 : e % 3 == 1 ? 128 : 255);
      }
    }
  }

  std::uint8_t& at(index_t i, index_t e) { return bytes_[static_cast<std::size_t>(i * columns_ + e)]; }
  bool counts(index_t i, index_t e) const {
    return bytes_[static_cast<std::size_t>((rows_ == 1 ? 0 : i) * columns_ + e)] != 0;
  }

  tempflow::element_mask view() const { return {bytes_.data(), rows_, columns_}; }
  operator tempflow::element_mask() const { return view(); }
  std::span<const std::uint8_t> bytes() const { return bytes_; }

 private:
  index_t rows_, columns_;
  std::vector<std::uint8_t> bytes_;
};

/// The batch with NaN in the elements that are left out; row i of it is of state i / per_state.
template <class T>
batch_buffer<T> poisoned(batch_buffer<T> batch, const mask_bytes& mask, index_t per_state = 1) {
  const T nan = tempflow::store<T>(std::numeric_limits<float>::quiet_NaN());
  for (index_t i = 0; i < batch.rows(); ++i) {
    for (index_t e = 0; e < batch.columns(); ++e) {
      if (!mask.counts(i / per_state, e)) batch.view().row(i)[e] = nan;
    }
  }
  return batch;
}

}  // namespace support
