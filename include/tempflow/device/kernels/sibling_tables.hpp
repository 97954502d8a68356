// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which rows leave which state, as kernels take it: kernels of one row for each state know it without a table.

#include <vector>

#include "tempflow/device/device_call.hpp"
#include "tempflow/ops/detail/siblings.hpp"

namespace tempflow::detail {

/// The state that a row leaves: its own.
struct own_states {
  TEMPFLOW_DEVICE index_t operator[](index_t row) const { return row; }
};

/// The state that a row leaves, by a table.
struct sibling_states {
  row_table<index_t> table;

  TEMPFLOW_DEVICE index_t operator[](index_t row) const { return table[row]; }
};

/// The rows of a state: its own.
struct own_rows {
  TEMPFLOW_DEVICE index_t first(index_t state) const { return state; }
};

/// The rows of a state, by offsets.
struct sibling_rows {
  row_table<index_t> offsets;

  TEMPFLOW_DEVICE index_t first(index_t state) const { return offsets[state]; }
};

/// Both tables of siblings on the host, until they are placed.
struct sibling_tables {
  std::vector<index_t> states, offsets;

  explicit sibling_tables(const siblings& of) {
    offsets.push_back(0);
    for (index_t s = 0; s < of.states(); ++s) {
      states.insert(states.end(), static_cast<std::size_t>(of.count(s)), s);
      offsets.push_back(of.first(s + 1));
    }
  }
};

/// Brings tables of a kernel to the device, and that of its states where it has one.
template <class Device, class Kernel, class... T>
void place_with_states(device_call<Device>& call, Kernel& kernel, row_table<T>&... tables) {
  if constexpr (requires { kernel.states.table; }) {
    call.place(kernel.tables, tables..., kernel.states.table);
  } else {
    call.place(kernel.tables, tables...);
  }
}

}  // namespace tempflow::detail
