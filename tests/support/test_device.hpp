// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The device that the tests of tests/device run on: a CUDA device where CUDA compilers compile them, an emulated
// one elsewhere. And batches in the memory of any backend, wherever their rows begin.

#include <span>
#include <vector>

#include "support/batches.hpp"
#include "tempflow/ops/copy_rows.hpp"

#if !defined(TEMPFLOW_TEST_INSTANTIATES)  // by programs that compile all kernels for themselves
#include "tempflow/compiled.hpp"
#endif

#if defined(__CUDACC__)
#include "tempflow/cuda.cuh"
#else
#include "support/emulated_device.hpp"
#include "tempflow/device/kernels.hpp"
#endif

namespace support {

#if defined(__CUDACC__)

inline constexpr bool emulated = false;
using test_device = tempflow::cuda_backend;

inline cudaStream_t test_stream() {
  static const cudaStream_t stream = [] {
    cudaStream_t made = nullptr;
    tempflow::check_cuda(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking),
                         "cudaStreamCreateWithFlags");
    return made;
  }();
  return stream;
}
inline test_device make_test_device() { return test_device(test_stream()); }

#else

inline constexpr bool emulated = true;
using test_device = emulated_backend;

inline test_device make_test_device(int clusters = 16) { return test_device(emulated_device(clusters)); }

/// The same device with its threads in another order.
inline test_device make_test_device(int clusters, unsigned seed) {
  return test_device(emulated_device(clusters, seed));
}

#endif

/// Where rows begin and how far they lie apart, in elements.
struct layout {
  index_t offset = 0;
  index_t padding = 0;
};

/// A batch in the memory of a backend, with sentinels around its rows.
template <class T, class B>
class placed {
 public:
  placed(const B& backend, index_t rows, index_t columns, layout shape = {})
      : backend_(backend), rows_(rows), columns_(columns), shape_(shape) {
    batch_buffer<T> all(1, shape.offset + rows * stride() + 1);
    for (index_t e = 0; e < all.columns(); ++e) all.view().data()[e] = sentinel();
    memory_ = tempflow::from_host(backend, all.view());
  }
  placed(const B& backend, const batch_buffer<T>& from, layout shape = {})
      : placed(backend, from.rows(), from.columns(), shape) {
    tempflow::copy_from_host(backend, from.view(), view());
  }

  batch_view<T> view() { return {memory_.view().data() + shape_.offset, rows_, columns_, stride()}; }
  operator batch_view<T>() { return view(); }
  operator batch_view<const T>() { return view(); }

  batch_buffer<T> values() { return tempflow::to_host(backend_, view()); }

  /// Whether nothing between and around the rows was written.
  bool sentinels_stand() {
    const auto all = tempflow::to_host(backend_, memory_.view());
    for (index_t e = 0; e < all.columns(); ++e) {
      const index_t at = e - shape_.offset;
      const bool in_row = at >= 0 && at / stride() < rows_ && at % stride() < columns_;
      if (!in_row && !(all.view().data()[e] == sentinel())) return false;
    }
    return true;
  }

 private:
  static T sentinel() { return tempflow::store<T>(-77.0f); }
  index_t stride() const { return columns_ + shape_.padding; }

  B backend_;
  index_t rows_, columns_;
  layout shape_;
  tempflow::buffer_of<B, T> memory_;
};

/// Numbers in the memory of a backend.
template <class B>
class placed_numbers {
 public:
  placed_numbers(const B& backend, index_t count) : batch_(backend, 1, count) {}
  placed_numbers(const B& backend, std::span<const double> from)
      : batch_(backend, batch_of<double>(1, static_cast<index_t>(from.size()), from)) {}

  std::span<double> span() {
    return {batch_.view().data(), static_cast<std::size_t>(batch_.view().columns())};
  }
  std::vector<double> values() {
    const auto all = batch_.values();
    return values_of(all.view());
  }

 private:
  placed<double, B> batch_;
};

}  // namespace support

// What tests call on the device, compiled once for all of them in support/device_kernels_*.cpp. keywords: extern template,
// or template where they are compiled.
#define TEMPFLOW_TEST_DEVICE_KERNELS(keywords, T) \
  TEMPFLOW_INSTANTIATE_OPS_ON(keywords, support::test_device, T)

#if !defined(TEMPFLOW_TEST_INSTANTIATES)

namespace tempflow::detail {

TEMPFLOW_TEST_DEVICE_KERNELS(extern template, float);
TEMPFLOW_TEST_DEVICE_KERNELS(extern template, double);
TEMPFLOW_TEST_DEVICE_KERNELS(extern template, bfloat16);
TEMPFLOW_TEST_DEVICE_KERNELS(extern template, float16);

}  // namespace tempflow::detail

#endif
