// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Standard normal noise for a batch, by identity.
//
// Traffic (fp32): writes 4 B per element. Bound by the arithmetic of the noise.

#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/fill_noise.hpp"

namespace tempflow {

/// Fills each row of `out` (B x D) with the standard normals of its id: the start of a trajectory at sigma =
/// 1, or the noise of a step drawn again. The values are fp32 normals, rounded to the storage type. Throws
/// shape_error unless there is one id per row.
template <backend B, writable_batch Out>
TEMPFLOW_HIDDEN void fill_noise(const B& backend, noise_source noise, Out&& out) {
  const auto to = as_view(out);
  detail::check_noise("fill_noise", noise, to.rows(), to.columns());
  detail::execute(backend, detail::fill_noise_op<storage_of<Out>>{to, noise});
}

TEMPFLOW_NEEDS_BACKEND(fill_noise);

}  // namespace tempflow
