// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Exponential moving average of a model's weights, with warm-up: the average that evaluations and checkpoints
// use. Source: flow_grpo/ema.py; TempFlow-GRPO config (decay 0.9, every 8 optimiser steps).

#include <algorithm>
#include <optional>
#include <span>
#include <type_traits>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/scalar.hpp"
#include "tempflow/detail/kernel.hpp"

namespace tempflow {

/// When the average moves, and how far.
struct ema_schedule {
  double decay = 0.9;
  index_t interval = 8;  ///< optimiser steps between two updates of the average

  /// The decay to apply after optimiser step n = 0, 1, ...: min((1 + n) / (10 + n), decay) at every
  /// interval-th step, nothing at the others. Throws value_error for a decay outside [0, 1] or an interval
  /// below 1.
  std::optional<double> at(index_t n) const {
    if (!is_finite(decay) || decay < 0 || decay > 1 || interval < 1 || n < 0) {
      throw value_error(
          detail::message("ema_schedule: decay = ", decay, ", interval = ", interval, ", step ", n));
    }
    if ((n + 1) % interval != 0) return std::nullopt;
    return (std::min)(static_cast<double>(1 + n) / static_cast<double>(10 + n), decay);
  }
};

namespace detail {

/// decay average + (1 - decay) weight.
template <class Real>
struct ema_blend {
  Real kept, share;

  TEMPFLOW_HD explicit ema_blend(double decay)
      : kept(static_cast<Real>(decay)), share(static_cast<Real>(1 - decay)) {}

  TEMPFLOW_INLINE Real operator()(Real average, Real weight) const {
    return fused_multiply_add(kept, average, share * weight);
  }
};

template <class Arithmetic, storage_scalar T>
struct ema_block {
  using kernel_tag = kernel;

  std::span<T> average;
  std::span<const T> weights;
  double decay;

  static constexpr index_t size = 16384;

  double nanoseconds() const { return 0.3 * static_cast<double>(size); }

  void operator()(index_t block) const {
    using real = typename Arithmetic::template real<T>;
    const ema_blend<real> blend(decay);
    const auto first = static_cast<std::size_t>(block * size);
    const std::size_t last = (std::min)(first + static_cast<std::size_t>(size), average.size());
    for (std::size_t i = first; i < last; ++i) {
      average[i] = store<T>(blend(real{load(average[i])}, real{load(weights[i])}));
    }
  }
};

/// Runs the blocks. Backends with memory of their own have theirs (training/cuda/ema.hpp).
template <backend B, class Arithmetic, storage_scalar T>
void run(const B& place, const ema_block<Arithmetic, T>& op) {
  const auto size = static_cast<index_t>(op.average.size());
  place.for_each_index((size + op.size - 1) / op.size, op);
}

}  // namespace detail

/// average = decay average + (1 - decay) weights, element by element. Keep the average in fp32 or fp64: in 16
/// bits it cannot move by less than its last place. Throws shape_error for sizes that differ, value_error for
/// a decay outside [0, 1].
template <backend B, storage_scalar T>
void ema_update(const B& place, std::span<T> average, std::type_identity_t<std::span<const T>> weights,
                double decay) {
  if (average.size() != weights.size()) {
    throw shape_error(detail::message("ema_update: average has ", average.size(), " elements, weights has ",
                                      weights.size()));
  }
  if (!is_finite(decay) || decay < 0 || decay > 1) {
    throw value_error(detail::message("ema_update: decay = ", decay, ", must lie in [0, 1]"));
  }
  run(place, detail::ema_block<typename B::arithmetic, T>{average, weights, decay});
}

}  // namespace tempflow
