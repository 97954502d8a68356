// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Copies of rows, where the rows lie: what rollouts and minibatches move states with.

#include <algorithm>
#include <span>
#include <type_traits>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/ops/checks.hpp"

namespace tempflow {
namespace detail {

template <storage_scalar T>
struct row_copy {
  batch_view<const T> from;
  batch_view<T> to;
};
template <storage_scalar T>
struct row_gather {
  batch_view<const T> from;
  std::span<const index_t> rows;
  batch_view<T> to;
};

template <storage_scalar T>
struct row_upload {
  batch_view<const T> from;
  batch_view<T> to;
};
template <storage_scalar T>
struct row_download {
  batch_view<const T> from;
  batch_view<T> to;
};

// Backends with memory of their own have theirs (ops/cuda/copy_rows.hpp).
template <backend B, storage_scalar T>
void run(const B&, const row_copy<T>& op) {
  for (index_t i = 0; i < op.to.rows(); ++i) std::copy_n(op.from.row(i), op.from.columns(), op.to.row(i));
}
template <backend B, storage_scalar T>
void run(const B& place, const row_upload<T>& op) {
  run(place, row_copy<T>{op.from, op.to});
}
template <backend B, storage_scalar T>
void run(const B& place, const row_download<T>& op) {
  run(place, row_copy<T>{op.from, op.to});
}
template <backend B, storage_scalar T>
void run(const B&, const row_gather<T>& op) {
  for (index_t i = 0; i < op.to.rows(); ++i) {
    std::copy_n(op.from.row(op.rows[static_cast<std::size_t>(i)]), op.from.columns(), op.to.row(i));
  }
}

}  // namespace detail

/// Copies a batch into another of the same shape, which must not overlap it. Throws shape_error.
template <backend B, class E, class T = std::remove_const_t<E>>
void copy_rows(const B& place, batch_view<E> from, output_batch<T> to) {
  detail::check_shape("copy_rows", "to", to, from.rows(), from.columns());
  if (detail::overlap(from, to)) throw shape_error("copy_rows: from and to share memory");
  if (!from.empty()) run(place, detail::row_copy<T>{from, to});
}

/// to[i] = from[rows[i]]. rows: host memory. Throws shape_error for extents that differ, batches that overlap, or
/// a row outside of `from`.
template <backend B, class E, class T = std::remove_const_t<E>>
void gather_rows(const B& place, batch_view<E> from, std::span<const index_t> rows, output_batch<T> to) {
  detail::check_shape("gather_rows", "to", to, static_cast<index_t>(rows.size()), from.columns());
  if (detail::overlap(from, to)) throw shape_error("gather_rows: from and to share memory");
  for (const index_t row : rows) {
    if (row < 0 || row >= from.rows()) {
      throw shape_error(detail::message("gather_rows: row ", row, " of ", from.rows()));
    }
  }
  if (!to.empty()) run(place, detail::row_gather<T>{from, rows, to});
}

/// Copies a batch from host memory into that of a backend. Waits until `from` may be changed.
template <backend B, class E, class T = std::remove_const_t<E>>
void copy_from_host(const B& place, batch_view<E> from, output_batch<T> to) {
  detail::check_shape("copy_from_host", "to", to, from.rows(), from.columns());
  if (!from.empty()) run(place, detail::row_upload<T>{from, to});
}

/// Copies a batch from the memory of a backend into the host's. Waits until it is there.
template <backend B, class E, class T = std::remove_const_t<E>>
void copy_to_host(const B& place, batch_view<E> from, output_batch<T> to) {
  detail::check_shape("copy_to_host", "to", to, from.rows(), from.columns());
  if (!from.empty()) run(place, detail::row_download<T>{from, to});
}

/// A copy in the memory of a backend, of a batch in the host's.
template <backend B, class E>
auto from_host(const B& place, batch_view<E> batch) {
  auto copy = make_buffer<std::remove_const_t<E>>(place, batch.rows(), batch.columns());
  copy_from_host(place, batch, copy.view());
  return copy;
}

/// A copy in host memory, of a batch in the memory of a backend.
template <backend B, class E>
batch_buffer<std::remove_const_t<E>> to_host(const B& place, batch_view<E> batch) {
  batch_buffer<std::remove_const_t<E>> copy(batch.rows(), batch.columns());
  copy_to_host(place, batch, copy.view());
  return copy;
}

/// gather_rows between two buffers, which know where they lie.
template <storage_scalar T>
void gather_rows(const batch_buffer<T>& from, std::span<const index_t> rows, batch_view<T> to) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(from.view().row(rows[i]), from.columns(), to.row(static_cast<index_t>(i)));
  }
}

}  // namespace tempflow
