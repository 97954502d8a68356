// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Copies of rows within a device's memory.

#include "tempflow/ops/copy_rows.hpp"
#include "tempflow/ops/cuda/row_meeting.hpp"

namespace tempflow {
namespace detail {

/// A warp copies a tile.
template <storage_scalar T>
struct gather_kernel {
  static constexpr int most_warps = tile_warps<T>;
  static constexpr int least_blocks = 2;

  batch_view<const T> from;
  const index_t* rows;
  batch_view<T> to;
  index_t tiles;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& here) const {
    const index_t item = here.block() * tile_warps<T> + here.warp(), i = item / tiles;
    if (i >= to.rows()) return;
    const warp_tile<T> tile(i, item % tiles, to.columns(), here.lane());
    const T* const source = from.row(rows[i]);
    T* const target = to.row(i);
    either(tile.whole(source, target), [&](auto whole) TEMPFLOW_INLINE_LAMBDA {
      tile.template each_access<whole>(here, {source},
                                       [&](int access, const auto& at) TEMPFLOW_INLINE_LAMBDA {
                                         tile.template write<whole>(here, target, access, at[0]);
                                       });
    });
  }
};

template <class T>
std::size_t row_bytes(const batch_view<T>& batch) {
  return sizeof(T) * static_cast<std::size_t>(batch.columns());
}

template <class Device, storage_scalar T>
void run(const device_backend<Device>& place, const row_gather<T>& op) {
  device_call call(place, "gather_rows");
  call.expects("from", op.from);
  call.expects("to", op.to);
  const index_t tiles = (op.to.columns() - 1) / warp_tile<T>::size + 1;
  call.launch(gather_kernel<T>{op.from, call.on_device(op.rows.data(), op.to.rows()), op.to, tiles},
              tile_shape<T>(op.to.rows(), op.to.columns(), false));
}

template <class Device, storage_scalar T>
void run(const device_backend<Device>& place, const row_copy<T>& op) {
  device_call call(place, "copy_rows");
  call.expects("from", op.from);
  call.expects("to", op.to);
  constexpr index_t size = sizeof(T);
  place.device().copy_rows(op.to.data(), op.to.row_stride() * size, op.from.data(),
                           op.from.row_stride() * size, op.from.columns() * size, op.from.rows());
}

template <class Device, storage_scalar T>
void run(const device_backend<Device>& place, const row_upload<T>& op) {
  device_call call(place, "copy_from_host");
  call.expects("to", op.to);
  for (index_t i = 0; i < op.to.rows(); ++i) {
    place.device().copy_from_host(op.to.row(i), op.from.row(i), row_bytes(op.to));
  }
  place.device().synchronize();
}

template <class Device, storage_scalar T>
void run(const device_backend<Device>& place, const row_download<T>& op) {
  device_call call(place, "copy_to_host");
  call.expects("from", op.from);
  for (index_t i = 0; i < op.to.rows(); ++i) {
    place.device().copy_to_host(op.to.row(i), op.from.row(i), row_bytes(op.to));
  }
  place.device().synchronize();
}

}  // namespace detail

/// gather_rows from a buffer, which knows where it lies.
template <class Device, storage_scalar T>
void gather_rows(const device_buffer<T, Device>& from, std::span<const index_t> rows, batch_view<T> to) {
  gather_rows(from.place(), from.view(), rows, to);
}

}  // namespace tempflow
