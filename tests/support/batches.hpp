// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Batches of known numbers, and comparison of memory bit by bit.

#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <type_traits>
#include <vector>

#include "tempflow/core/batch_view.hpp"

namespace support {

using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::index_t;

/// The value of a stored element, exact in double.
template <class T>
double value_of(T element) {
  return static_cast<double>(tempflow::load(element));
}

/// Uniform numbers in [-1, 1) from a seed: the same on every platform.
class numbers {
 public:
  explicit numbers(std::uint64_t seed) : bits_(seed) {}

  double next() { return static_cast<double>(static_cast<std::int64_t>(bits_() >> 11)) * 0x1p-52 - 1; }

  std::vector<double> take(index_t count) {
    std::vector<double> values;
    for (index_t i = 0; i < count; ++i) values.push_back(next());
    return values;
  }

 private:
  std::mt19937_64 bits_;
};

/// Fills a view with `scale` times uniform numbers in [-1, 1), rounded to its storage type.
template <class T>
void fill_random(batch_view<T> out, std::uint64_t seed, double scale = 2) {
  numbers source(seed);
  for (index_t i = 0; i < out.rows(); ++i) {
    for (index_t e = 0; e < out.columns(); ++e) {
      out.row(i)[e] = tempflow::store<T>(static_cast<float>(scale * source.next()));
    }
  }
}

template <class T>
batch_buffer<T> random_batch(index_t rows, index_t columns, std::uint64_t seed, double scale = 2) {
  batch_buffer<T> batch(rows, columns);
  fill_random(batch.view(), seed, scale);
  return batch;
}

/// A batch with given numbers, rounded to T.
template <class T>
batch_buffer<T> batch_of(index_t rows, index_t columns, std::span<const double> values) {
  batch_buffer<T> batch(rows, columns);
  for (index_t i = 0; i < rows * columns; ++i) {
    batch.view().data()[i] = tempflow::store<T>(values[static_cast<std::size_t>(i)]);
  }
  return batch;
}

/// A batch in another storage type.
template <class To, class From>
batch_buffer<To> converted(const batch_buffer<From>& from) {
  batch_buffer<To> to(from.rows(), from.columns());
  for (index_t e = 0; e < from.rows() * from.columns(); ++e)
    to.view().data()[e] = tempflow::store<To>(tempflow::load(from.view().data()[e]));
  return to;
}

/// The same extents and the same bits in every element.
template <class A, class B>
bool same_bits(batch_view<A> a, batch_view<B> b) {
  static_assert(std::is_same_v<std::remove_const_t<A>, std::remove_const_t<B>>);
  if (a.rows() != b.rows() || a.columns() != b.columns()) return false;
  for (index_t i = 0; i < a.rows() && a.columns() > 0; ++i) {
    if (std::memcmp(a.row(i), b.row(i), static_cast<std::size_t>(a.columns()) * sizeof(A)) != 0) return false;
  }
  return true;
}

template <class T>
bool same_bits(const batch_buffer<T>& a, const batch_buffer<T>& b) {
  return same_bits(a.view(), b.view());
}

inline bool same_bits(std::span<const double> a, std::span<const double> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

/// Largest |a - b|; infinite when a number is not finite.
inline double largest_difference(std::span<const double> a, std::span<const double> b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
    if (!(difference <= largest)) largest = difference == difference ? difference : 1e300;
  }
  return largest;
}

/// The elements of a batch in double, row after row.
template <class T>
std::vector<double> values_of(batch_view<T> batch) {
  std::vector<double> values;
  for (index_t i = 0; i < batch.rows(); ++i) {
    for (index_t e = 0; e < batch.columns(); ++e) values.push_back(value_of(batch.row(i)[e]));
  }
  return values;
}

}  // namespace support
