// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/device/device_backend.hpp>

#include "kernels.hpp"

namespace fashion {

/// A matrix in a device's memory with room for as many rows as were ever asked for. What it held is gone when
/// it grows.
template <class Device>
class grown_matrix {
 public:
  states rows(const tempflow::device_backend<Device>& backend, tempflow::index_t count,
              tempflow::index_t columns) {
    if (count > memory_.rows()) memory_ = backend.template make_buffer<float>(count, columns);
    return memory_.view().slice(0, count);
  }

 private:
  tempflow::device_buffer<float, Device> memory_;
};

/// A layer's input x and a column of ones behind it, so that [x 1] [W; b] = x W + b: the layer's bias and its
/// gradient come with the matrix products of W.
template <class Device>
class layer_input {
 public:
  void resize(const tempflow::device_backend<Device>& backend, tempflow::index_t rows,
              tempflow::index_t inputs) {
    rows_ = rows;
    inputs_ = inputs;
    if (rows <= memory_.rows()) return;
    const tempflow::index_t stride = (inputs + 1 + 3) / 4 * 4;  // rows on boundaries of 16 bytes
    memory_ = backend.template make_buffer<float>(rows, stride);
    backend.for_each_index(rows, write_ones{memory_.view(), inputs});
  }

  states values() { return {memory_.view().data(), rows_, inputs_, memory_.columns()}; }
  const_states with_ones() const { return {memory_.view().data(), rows_, inputs_ + 1, memory_.columns()}; }

 private:
  tempflow::device_buffer<float, Device> memory_;
  tempflow::index_t rows_ = 0, inputs_ = 0;
};

}  // namespace fashion
