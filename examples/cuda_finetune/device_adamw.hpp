// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <tempflow/device/device_backend.hpp>
#include <tempflow/ops/copy_rows.hpp>

#include "kernels.hpp"
#include "support/adamw_rule.hpp"

namespace fashion {

/// The sum of squares of a block of a vector.
struct sum_squares {
  static constexpr tempflow::index_t block = 4096;

  const_states vector;  ///< one row
  tempflow::batch_view<double> sums;

  TEMPFLOW_DEVICE tempflow::index_t rows() const { return sums.columns(); }

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread, tempflow::index_t at) const {
    const tempflow::index_t end =
        at * block + block < vector.columns() ? at * block + block : vector.columns();
    double sum = 0;
    for (tempflow::index_t i = at * block + thread.lane(); i < end; i += tempflow::warp_lanes) {
      sum += double{vector.data()[i]} * double{vector.data()[i]};
    }
    sum = warp_sum(thread, sum);
    if (thread.lane() == 0) sums.data()[at] = sum;
  }
};

struct move_weight {
  support::adamw_rule rule;
  const float* gradient;
  float *mean, *square, *weight;

  TEMPFLOW_DEVICE void operator()(tempflow::index_t i) const {
    const float g = gradient[i] * rule.clip;
    mean[i] = rule.beta1 * mean[i] + (1 - rule.beta1) * g;
    square[i] = rule.beta2 * square[i] + (1 - rule.beta2) * g * g;
    weight[i] =
        rule.keep * weight[i] - rule.rate * mean[i] / (std::sqrt(square[i] * rule.unbias) + rule.epsilon);
  }
};

/// AdamW on a device; vectors are batches of one row in its memory. Refers to its backend.
template <class Device>
class device_adamw {
 public:
  device_adamw(const tempflow::device_backend<Device>& backend, tempflow::index_t parameters)
      : backend_{backend},
        mean_{tempflow::make_zeros<float>(backend, 1, parameters)},
        square_{tempflow::make_zeros<float>(backend, 1, parameters)},
        sums_{backend, 1, (parameters - 1) / sum_squares::block + 1} {}

  tempflow::index_t steps() const { return steps_; }

  /// Moves the weights; returns the gradient's norm before the clip, for which it waits. Throws
  /// std::runtime_error when it is not finite.
  double step(const support::adamw_settings& settings, const_states gradient, states weights) {
    using partial = each_row<sum_squares>;
    backend_.device().launch(
        partial{{gradient, sums_.view()}},
        {.blocks = (sums_.columns() - 1) / partial::max_warps + 1, .warps = partial::max_warps});
    const auto sums = tempflow::to_host(backend_, sums_.view());
    double norm = 0;
    for (tempflow::index_t i = 0; i < sums.columns(); ++i) norm += sums.view().data()[i];
    norm = std::sqrt(norm);
    const support::adamw_rule rule(settings, steps_ + 1, norm);
    ++steps_;
    backend_.for_each_index(weights.columns(), move_weight{rule, gradient.data(), mean_.view().data(),
                                                           square_.view().data(), weights.data()});
    return norm;
  }

 private:
  const tempflow::device_backend<Device>& backend_;
  tempflow::device_buffer<float, Device> mean_, square_;
  tempflow::device_buffer<double, Device> sums_;
  tempflow::index_t steps_ = 0;
};

}  // namespace fashion
