// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Exponential moving average of a model's weights, with warm-up: the average that evaluations and checkpoints
// use; ops/ema_update.hpp moves it. Source: flow_grpo/ema.py; TempFlow-GRPO config (decay 0.9, every 8
// optimiser steps).

#include <algorithm>
#include <optional>

#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"

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

}  // namespace tempflow
