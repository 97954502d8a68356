// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// One step of an exponential moving average of a model's weights (training/ema.hpp says when, and how far).
//
// Traffic (fp32): reads both, writes the average: 12 B per element. Bound by memory.

#include <span>
#include <type_traits>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/ema_update.hpp"

namespace tempflow {

/// average = decay average + (1 - decay) weights, element by element. Keep the average in fp32 or fp64: in 16
/// bits it cannot move by less than its last place. decay: a number, or where it lies on the device.
///
/// Throws shape_error for sizes that differ, value_error for a decay outside [0, 1] that the host can read.
template <backend B, storage_scalar T>
TEMPFLOW_HIDDEN void ema_update(const B& backend, std::span<T> average,
                                std::type_identity_t<std::span<const T>> weights,
                                stream_value<double> decay) {
  if (average.size() != weights.size()) {
    throw shape_error(detail::message("ema_update: average has ", average.size(), " elements, weights has ",
                                      weights.size()));
  }
  const detail::operation_arguments arguments(backend);
  if (arguments.host_reads(decay.address()) && (!is_finite(*decay) || *decay < 0 || *decay > 1)) {
    throw value_error(detail::message("ema_update: decay = ", *decay, ", must lie in [0, 1]"));
  }
  detail::execute(arguments, detail::ema_update_op<T>{average, weights, decay});
}

/// As above, for weights that are a batch: of one row, say.
template <backend B, writable_batch Average, storage_scalar T = storage_of<Average>>
TEMPFLOW_HIDDEN void ema_update(const B& backend, Average&& average, input_batch<T> weights,
                                stream_value<double> decay) {
  const batch_view<T> to = as_view(average);
  detail::check_shape("ema_update", "weights", weights, to.rows(), to.columns());
  const auto columns = static_cast<std::size_t>(to.columns());
  for (index_t i = 0; i < to.rows(); ++i) {
    ema_update(backend, std::span<T>(to.row(i), columns), std::span<const T>(weights.row(i), columns), decay);
  }
}

TEMPFLOW_NEEDS_BACKEND(ema_update);

}  // namespace tempflow
