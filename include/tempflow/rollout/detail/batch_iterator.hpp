// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Iterates over what a range gathers, one batch at a time.

#include <cstddef>
#include <iterator>

namespace tempflow::detail {

/// Range: has a value_type, and gather(i) for the i-th of them.
template <class Range>
class batch_iterator {
 public:
  using value_type = typename Range::value_type;
  using iterator_concept = std::input_iterator_tag;
  using difference_type = std::ptrdiff_t;

  batch_iterator() = default;
  batch_iterator(Range* range, std::size_t at) : range_(range), at_(at) {}

  value_type operator*() const { return range_->gather(at_); }
  batch_iterator& operator++() { return ++at_, *this; }
  void operator++(int) { ++at_; }
  bool operator==(const batch_iterator& other) const { return at_ == other.at_; }

 private:
  Range* range_ = nullptr;
  std::size_t at_ = 0;
};

}  // namespace tempflow::detail
