// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Copies of rows on host backends.

#include <algorithm>

#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

template <host_backend B, storage_scalar T>
void run(const operation_arguments<B>&, const copy_rows_op<T>& op) {
  for (index_t i = 0; i < op.to.rows(); ++i) std::copy_n(op.from.row(i), op.from.columns(), op.to.row(i));
}

template <host_backend B, storage_scalar T>
void run(const operation_arguments<B>& arguments, const copy_from_host_op<T>& op) {
  run(arguments, copy_rows_op<T>{op.from, op.to});
}

template <host_backend B, storage_scalar T>
void run(const operation_arguments<B>& arguments, const copy_to_host_op<T>& op) {
  run(arguments, copy_rows_op<T>{op.from, op.to});
}

template <host_backend B, storage_scalar T>
void run(const operation_arguments<B>&, const gather_rows_op<T>& op) {
  for (index_t i = 0; i < op.to.rows(); ++i) {
    std::copy_n(op.from.row(op.rows[static_cast<std::size_t>(i)]), op.from.columns(), op.to.row(i));
  }
}

}  // namespace tempflow::detail
