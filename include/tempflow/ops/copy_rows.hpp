// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Copies of rows, where the rows lie: what rollouts and minibatches move states with.
//
// Traffic: each element read and written once. Bound by memory, or by the link between host and device.

#include <concepts>
#include <span>

#include "tempflow/backend/backend.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/core/batch_like.hpp"
#include "tempflow/ops/detail/checks.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/detail/operations.hpp"
#include "tempflow/ops/host/copy_rows.hpp"

namespace tempflow {

/// Copies a batch into another of the same shape, which must not overlap it. Throws shape_error.
template <backend B, batch_like From, storage_scalar T = storage_of<From>>
TEMPFLOW_HIDDEN void copy_rows(const B& backend, From&& from, output_batch<T> to) {
  const batch_view<const T> source = as_view(from);
  detail::check_shape("copy_rows", "to", to, source.rows(), source.columns());
  if (detail::overlap(source, to)) throw shape_error("copy_rows: from and to share memory");
  if (!source.empty()) detail::execute(backend, detail::copy_rows_op<T>{source, to});
}

/// to[i] = from[rows[i]]. rows: host memory. Throws shape_error for extents that differ, batches that
/// overlap, or a row outside of `from`.
template <backend B, batch_like From, storage_scalar T = storage_of<From>>
TEMPFLOW_HIDDEN void gather_rows(const B& backend, From&& from, std::span<const index_t> rows,
                                 output_batch<T> to) {
  const batch_view<const T> source = as_view(from);
  detail::check_shape("gather_rows", "to", to, static_cast<index_t>(rows.size()), source.columns());
  if (detail::overlap(source, to)) throw shape_error("gather_rows: from and to share memory");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= source.rows()) {
      throw shape_error(
          detail::message("gather_rows: rows[", i, "] = ", rows[i], ", from has ", source.rows(), " rows"));
    }
  }
  if (!to.empty()) detail::execute(backend, detail::gather_rows_op<T>{source, rows, to});
}

/// Copies a batch from host memory into that of a backend. Waits until `from` may be changed.
template <backend B, batch_like From, storage_scalar T = storage_of<From>>
TEMPFLOW_HIDDEN void copy_from_host(const B& backend, From&& from, output_batch<T> to) {
  const batch_view<const T> source = as_view(from);
  detail::check_shape("copy_from_host", "to", to, source.rows(), source.columns());
  if (!source.empty()) detail::execute(backend, detail::copy_from_host_op<T>{source, to});
}

/// Copies a batch from the memory of a backend into the host's. Waits until it is there.
template <backend B, batch_like From, storage_scalar T = storage_of<From>>
TEMPFLOW_HIDDEN void copy_to_host(const B& backend, From&& from, output_batch<T> to) {
  const batch_view<const T> source = as_view(from);
  detail::check_shape("copy_to_host", "to", to, source.rows(), source.columns());
  if (!source.empty()) detail::execute(backend, detail::copy_to_host_op<T>{source, to});
}

/// A copy in the memory of a backend, of a batch in the host's.
template <backend B, batch_like Batch>
TEMPFLOW_HIDDEN auto from_host(const B& backend, Batch&& batch) {
  const auto source = as_view(batch);
  auto copy = make_buffer<storage_of<Batch>>(backend, source.rows(), source.columns());
  copy_from_host(backend, source, copy.view());
  return copy;
}

/// A copy in host memory, of a batch in the memory of a backend.
template <backend B, batch_like Batch>
TEMPFLOW_HIDDEN batch_buffer<storage_of<Batch>> to_host(const B& backend, Batch&& batch) {
  const auto source = as_view(batch);
  batch_buffer<storage_of<Batch>> copy(source.rows(), source.columns(), uninitialized);
  copy_to_host(backend, source, copy.view());
  return copy;
}

/// gather_rows between two buffers, which know where they lie.
template <class Buffer, storage_scalar T>
TEMPFLOW_HIDDEN void gather_rows(const Buffer& from, std::span<const index_t> rows, batch_view<T> to) {
  if constexpr (std::same_as<Buffer, batch_buffer<T>>) {
    gather_rows(reference_backend{}, from, rows, to);
  } else {
    gather_rows(from.backend(), from, rows, to);
  }
}

/// A batch of zeros in the memory of a backend.
template <storage_scalar T, backend B>
TEMPFLOW_HIDDEN auto make_zeros(const B& backend, index_t rows, index_t columns) {
  if constexpr (device_memory_backend<B>) {
    return backend.template make_zeros<T>(rows, columns);
  } else {
    return batch_buffer<T>(rows, columns);
  }
}

TEMPFLOW_NEEDS_BACKEND(copy_rows);

}  // namespace tempflow
