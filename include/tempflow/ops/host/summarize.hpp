// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// summarize on host backends.

#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

template <host_backend B>
void run(const operation_arguments<B>&, const summarize_op& op) {
  op.total.front() = summarize(op.rows, op.kl_beta, op.mean_over);
}

}  // namespace tempflow::detail
