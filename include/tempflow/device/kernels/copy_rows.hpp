// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Copies of rows within a device's memory.

#include <string_view>

#include "tempflow/device/kernels/row_reduction.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

/// A warp copies a tile.
template <storage_scalar T>
struct gather_kernel {
  static constexpr int max_warps = tile_warps<T>;
  static constexpr int min_blocks = 4;

  batch_view<const T> from;
  row_table<index_t> rows;
  batch_view<T> to;
  row_reduction tiles;
  table_block tables;

  template <class Thread>
  TEMPFLOW_DEVICE void operator()(const Thread& thread) const {
    const auto tile = tiles.tile_of<T>(thread, to.columns());
    if (tile.count <= 0) return;
    const T* const source[] = {tile.of(from.row(rows[tile.row]))};
    T* const target = tile.of(to.row(tile.row));
    dispatch_bool(tile.whole(source[0], target), [&](auto whole) {
      tile.template each_read<whole>(thread, source, [&](int access, const auto& at) {
        tile.template write<whole>(thread, target, access, at[0]);
      });
    });
  }
};

/// Copies rows between any memories.
template <class Device, storage_scalar T>
void copy_rows_on(const Device& device, const batch_view<const T>& from, const batch_view<T>& to) {
  constexpr index_t size = sizeof(T);
  device.copy_rows(to.data(), to.row_stride() * size, from.data(), from.row_stride() * size,
                   from.columns() * size, from.rows());
}

template <class Device, storage_scalar T>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const gather_rows_op<T>& op) {
  device_call call(arguments, "gather_rows");
  call.expects("from", op.from, "to", op.to);
  const index_t count = op.to.rows(), elements = op.to.columns();
  gather_kernel<T> kernel{.from = op.from,
                          .rows = op.rows,
                          .to = op.to,
                          .tiles = no_row_reduction<T>(count, elements),
                          .tables = {}};
  call.place(kernel.tables, kernel.rows);
  call.launch(kernel, tile_shape<T>(count, elements));
}

template <class Device, storage_scalar T>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const copy_rows_op<T>& op) {
  device_call call(arguments, "copy_rows");
  call.expects("from", op.from, "to", op.to);
  copy_rows_on(call.device(), op.from, op.to);
}

/// The same from or to the host, which waits for it.
template <class Device, storage_scalar T>
void copy_and_wait(const device_call<Device>& call, std::string_view of_host, const batch_view<const T>& from,
                   const batch_view<T>& to) {
  call.expects_to_wait(of_host);
  copy_rows_on(call.device(), from, to);
  call.device().synchronize();
}

template <class Device, storage_scalar T>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const copy_from_host_op<T>& op) {
  device_call call(arguments, "copy_from_host");
  call.expects("to", op.to);
  copy_and_wait(call, "from", op.from, op.to);
}

template <class Device, storage_scalar T>
TEMPFLOW_HIDDEN void run(const device_arguments<Device>& arguments, const copy_to_host_op<T>& op) {
  device_call call(arguments, "copy_to_host");
  call.expects("from", op.from);
  copy_and_wait(call, "to", op.from, op.to);
}

}  // namespace tempflow::detail
