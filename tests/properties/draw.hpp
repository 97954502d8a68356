// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Random choices of a case, all from one number, the same on every platform.

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <span>
#include <vector>

#include "support/batches.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/schedule/transition.hpp"

namespace properties {

using support::batch_buffer;
using support::batch_view;
using support::converted;
using support::same_bits;
using support::value_of;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::reference_backend;
using tempflow::transition;

/// An index of a container.
inline constexpr auto at = [](index_t i) { return static_cast<std::size_t>(i); };

class draw {
 public:
  explicit draw(std::uint64_t number) : bits_(number) {}

  std::uint64_t bits() { return bits_(); }

  /// An integer of [least, most].
  index_t between(index_t least, index_t most) {
    return least + static_cast<index_t>(bits_() % static_cast<std::uint64_t>(most - least + 1));
  }
  bool once_in(index_t n) { return between(1, n) == 1; }

  /// A number of [low, high).
  double uniform(double low, double high) {
    return low + (high - low) * static_cast<double>(bits_() >> 11) * 0x1p-53;
  }
  /// A positive number, uniform in its logarithm.
  double magnitude(double low, double high) { return std::exp(uniform(std::log(low), std::log(high))); }
  double signed_magnitude(double low, double high) {
    const double size = magnitude(low, high);
    return once_in(2) ? size : -size;
  }

  template <class T>
  T one_of(std::initializer_list<T> choices) {
    return choices.begin()[between(0, static_cast<index_t>(choices.size()) - 1)];
  }
  template <class T>
  const T& one_of(std::span<const T> choices) {
    return choices[at(between(0, static_cast<index_t>(choices.size()) - 1))];
  }

  /// Elements of a row: around the sizes of registers and tiles, now and then enough for several threads.
  index_t columns() {
    if (once_in(16)) return between(16'000, 40'000);
    if (once_in(2)) return between(1, 70);
    return (std::max<index_t>)(1, one_of<index_t>({32, 64, 256, 1024, 2048, 3072}) + between(-3, 3));
  }

  /// A backend of 1 to 3 threads and any instruction set.
  const cpu_backend& cpu() {
    using tempflow::instruction_set;
    static const std::vector<cpu_backend> all = [] {
      std::vector<cpu_backend> backends;
      for (const index_t threads : {1, 2, 3}) {
        for (const auto most : {instruction_set::portable, instruction_set::avx2, instruction_set::avx512})
          backends.emplace_back(threads, most);
      }
      return backends;
    }();
    return one_of(std::span<const cpu_backend>(all));
  }

 private:
  std::mt19937_64 bits_;
};

/// Calls check.template operator()<T>() for a random storage type.
template <class Check>
void with_storage(draw& source, const Check& check) {
  switch (source.between(0, 3)) {
    case 0: return check.template operator()<double>();
    case 1: return check.template operator()<bfloat16>();
    case 2: return check.template operator()<float16>();
    default: return check.template operator()<float>();
  }
}

/// The same with two types, of states and of velocities.
template <class Check>
void with_mixed_storage(draw& source, const Check& check) {
  switch (source.between(0, 5)) {
    case 0: return check.template operator()<double, double>();
    case 1: return check.template operator()<bfloat16, bfloat16>();
    case 2: return check.template operator()<float16, float16>();
    case 3: return check.template operator()<float, bfloat16>();
    case 4: return check.template operator()<float, float16>();
    default: return check.template operator()<float, float>();
  }
}

/// What all others have to agree with: one thread, the portable code.
inline const cpu_backend& plain_cpu() {
  static const cpu_backend one(1, tempflow::instruction_set::portable);
  return one;
}

/// A batch whose rows lie anywhere, among sentinels.
template <class T>
class placed {
 public:
  placed(draw& source, index_t rows, index_t columns)
      : rows_(rows),
        columns_(columns),
        offset_(source.once_in(2) ? 0 : source.between(0, 20)),
        stride_(columns + (source.once_in(2) ? 0 : source.between(0, 20))),
        elements_(at(offset_ + rows * stride_ + 16), sentinel()) {}
  placed(draw& source, batch_view<const T> from) : placed(source, from.rows(), from.columns()) {
    for (index_t i = 0; i < rows_; ++i) std::copy_n(from.row(i), columns_, view().row(i));
  }

  batch_view<T> view() { return {elements_.data() + offset_, rows_, columns_, stride_}; }
  operator batch_view<T>() { return view(); }
  operator batch_view<const T>() { return view(); }

  /// Whether nothing was written beside the rows.
  bool is_whole() const {
    for (index_t e = 0; e < static_cast<index_t>(elements_.size()); ++e) {
      const index_t place = e - offset_;
      const bool within = place >= 0 && place < rows_ * stride_ && place % stride_ < columns_;
      if (!within && elements_[at(e)] != sentinel()) return false;
    }
    return true;
  }

 private:
  static T sentinel() { return tempflow::store<T>(-77.0f); }

  index_t rows_, columns_, offset_, stride_;
  std::vector<T> elements_;
};

}  // namespace properties
