// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the velocity network does element by element and row by row, as text that CUDA compilers build for the
// device and all others for the host, where tests run it on an emulated device.

#include <cmath>
#include <tempflow/core/batch_view.hpp>
#include <tempflow/device/device_backend.hpp>

#include "network_shape.hpp"

namespace fashion {

using states = tempflow::batch_view<float>;
using const_states = tempflow::batch_view<const float>;

/// Noise levels and classes of rows on their way to the device. They travel as a kernel's arguments: in
/// stream order, from memory that need not outlive the call, so the host never waits.
struct upload_rows {
  static constexpr tempflow::index_t most = 400;  // arguments of a kernel have 4 KiB

  states to;  ///< column 0: sigma, column 1: the class
  float sigma[most];
  float label[most];

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row) const {
    to.row(row)[0] = sigma[row];
    to.row(row)[1] = label[row];
  }
};

struct write_ones {
  states to;
  tempflow::index_t column;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row) const { to.row(row)[column] = 1; }
};

/// Body(row, column) for each element of a matrix.
template <class Body>
struct each_element {
  tempflow::index_t columns;
  Body body;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t i) const { body(i / columns, i % columns); }
};

struct write_condition {
  const_states rows;
  states to;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row, tempflow::index_t column) const {
    const float sigma = rows.row(row)[0], label = rows.row(row)[1];
    const int k = static_cast<int>(column);
    float& value = to.row(row)[column];
    if (k < frequencies) {
      value = std::sin(sigma_angle(sigma, k));
    } else if (k < 2 * frequencies) {
      value = std::cos(sigma_angle(sigma, k - frequencies));
    } else {
      value = static_cast<float>(k - 2 * frequencies) == label ? 1.0f : 0.0f;
    }
  }
};

struct scale_state {
  const_states rows, x;
  states to;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row, tempflow::index_t column) const {
    to.row(row)[column] = x.row(row)[column] * preconditioning(rows.row(row)[0]).scale;
  }
};

/// v = (x - x0) / sigma, from the network's output.
struct write_velocity {
  const_states rows, x, output;
  states v;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row, tempflow::index_t column) const {
    const preconditioning given(rows.row(row)[0]);
    const float state = x.row(row)[column];
    const float clean = state * given.scale * given.guess + output.row(row)[column] * given.spread;
    v.row(row)[column] = (state - clean) / given.divisor;
  }
};

/// The way back through write_velocity.
struct write_output_gradient {
  const_states rows, v_gradient;
  states to;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row, tempflow::index_t column) const {
    const preconditioning given(rows.row(row)[0]);
    to.row(row)[column] = -v_gradient.row(row)[column] / given.divisor * given.spread;
  }
};

/// x becomes silu(x); slope its derivative there.
struct apply_silu {
  states x, slope;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row, tempflow::index_t column) const {
    const float from = x.row(row)[column], gate = 1 / (1 + std::exp(-from)), to = from * gate;
    x.row(row)[column] = to;
    slope.row(row)[column] = gate * (1 + (from - to));
  }
};

struct multiply_by {
  const_states factor;
  states x;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row, tempflow::index_t column) const {
    x.row(row)[column] *= factor.row(row)[column];
  }
};

/// x (1 + a) + b, where film = (a, b).
struct modulate {
  const_states x, film;
  states to;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row, tempflow::index_t column) const {
    const float* const ab = film.row(row);
    to.row(row)[column] = x.row(row)[column] * (1 + ab[column]) + ab[x.columns() + column];
  }
};

/// The way back through modulate: `gradient` is that of its result, and becomes that of x.
struct modulate_back {
  const_states x, film;
  states gradient, film_gradient;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t row, tempflow::index_t column) const {
    float& here = gradient.row(row)[column];
    film_gradient.row(row)[column] = here * x.row(row)[column];
    film_gradient.row(row)[x.columns() + column] = here;
    here *= 1 + film.row(row)[column];
  }
};

/// A warp per row. `Row` has rows() and operator()(thread, row).
template <class Row>
struct each_row {
  static constexpr int max_warps = 4;
  static constexpr int min_blocks = 4;

  Row body;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const tempflow::index_t row = thread.block() * max_warps + thread.warp();
    if (row < body.rows()) body(thread, row);
  }
};

/// The sum over a warp, in every lane.
template <class Real, class Thread>
TEMPFLOW_DEVICE Real warp_sum(const Thread& thread, Real value) {
  for (int mask = tempflow::warp_lanes / 2; mask > 0; mask /= 2) value += thread.shuffle_xor(value, mask);
  return value;
}

/// A row to mean 0 and variance 1.
struct normalise_row {
  const_states x;
  states y, inverse_std;

  TEMPFLOW_DEVICE tempflow::index_t rows() const { return x.rows(); }

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread, tempflow::index_t row) const {
    const float* const from = x.row(row);
    float* const to = y.row(row);
    const auto count = static_cast<float>(x.columns());
    float sum = 0, squares = 0;
    for (tempflow::index_t c = thread.lane(); c < x.columns(); c += tempflow::warp_lanes) sum += from[c];
    const float mean = warp_sum(thread, sum) / count;
    for (tempflow::index_t c = thread.lane(); c < x.columns(); c += tempflow::warp_lanes) {
      squares += (from[c] - mean) * (from[c] - mean);
    }
    const float scale = 1 / std::sqrt(warp_sum(thread, squares) / count + norm_epsilon);
    for (tempflow::index_t c = thread.lane(); c < x.columns(); c += tempflow::warp_lanes) {
      to[c] = (from[c] - mean) * scale;
    }
    if (thread.lane() == 0) *inverse_std.row(row) = scale;
  }
};

/// The way back through normalise_row: adds to dx. y is its output, dy the gradient of that.
struct normalise_row_back {
  const_states y, inverse_std, dy;
  states dx;

  TEMPFLOW_DEVICE tempflow::index_t rows() const { return y.rows(); }

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread, tempflow::index_t row) const {
    const float *const value = y.row(row), *const gradient = dy.row(row);
    float sum = 0, dot = 0;
    for (tempflow::index_t c = thread.lane(); c < y.columns(); c += tempflow::warp_lanes) {
      sum += gradient[c];
      dot += gradient[c] * value[c];
    }
    const auto count = static_cast<float>(y.columns());
    const float mean = warp_sum(thread, sum) / count, along = warp_sum(thread, dot) / count;
    const float scale = *inverse_std.row(row);
    for (tempflow::index_t c = thread.lane(); c < y.columns(); c += tempflow::warp_lanes) {
      dx.row(row)[c] += scale * (gradient[c] - mean - value[c] * along);
    }
  }
};

}  // namespace fashion
