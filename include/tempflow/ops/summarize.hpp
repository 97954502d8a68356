// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The summary of a batch's rows where they lie: policy_loss_rows and this are a policy_loss that the host does not wait
// for, so that an update can be captured into a CUDA graph and its statistics read later.

#include <span>

#include "tempflow/backend/backend.hpp"
#include "tempflow/ops/detail/operation_arguments.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/summarize.hpp"

namespace tempflow {

/// Writes the summary of rows whose losses are divided by `mean_over`: to `total`, in the memory of the backend or in the
/// host's, and then waits for a device. rows: R, as policy_loss_rows wrote them; on a device in its memory.
///
/// Throws value_error for a mean_over that is not positive or a kl_beta that is not finite, memory_error for rows of a
/// device backend that lie in host memory, and for a total there while a stream is captured.
template <backend B>
TEMPFLOW_HIDDEN void summarize(const B& backend, std::span<const policy_row> rows, double kl_beta,
                               double mean_over, policy_statistics& total) {
  if (!is_finite(kl_beta) || !is_finite(mean_over) || mean_over <= 0) {
    throw value_error(detail::message("summarize: kl_beta = ", kl_beta, ", mean_over = ", mean_over,
                                      ": both must be finite, and mean_over positive"));
  }
  detail::execute(backend, detail::summarize_op{rows, kl_beta, mean_over, std::span(&total, 1)});
}

}  // namespace tempflow
