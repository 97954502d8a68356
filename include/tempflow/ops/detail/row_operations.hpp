// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the operations of a general loss ask of a backend: sums, gradients from factors, or both with an objective
// between them.

#include <span>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/element_mask.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/objective/policy_statistics.hpp"
#include "tempflow/objective/row_sums.hpp"
#include "tempflow/ops/detail/row_terms.hpp"
#include "tempflow/ops/detail/siblings.hpp"

namespace tempflow::detail {

/// What rows are read from. A velocity that is not wanted is v: the difference is zero, and memory has nothing to do.
template <storage_scalar T, storage_scalar V>
struct row_inputs {
  batch_view<const T> x, y;  ///< y: by row, the others by state
  batch_view<const V> v, v_ref, v_old;
  bool has_reference = false, has_old = false;  ///< v_ref and v_old are other batches than v
  siblings of;
  per_row<transition> transitions;  ///< by state
  element_mask mask;                ///< by state, or none
};

template <storage_scalar T, storage_scalar V>
struct row_sums_op {
  row_inputs<T, V> in;
  double mixture;
  std::span<row_sums> sums;
};

template <storage_scalar T, storage_scalar V, storage_scalar G>
struct row_gradient_op {
  row_inputs<T, V> in;
  siblings of;  ///< in.of
  std::span<const row_factors> factors;
  batch_view<G> gradient;
  std::span<policy_row> rows;  ///< or empty: marked where a gradient overflows
};

template <storage_scalar T, storage_scalar V, storage_scalar G, class Objective>
struct row_loss_op {
  row_inputs<T, V> in;
  siblings of;
  row_constants constants;
  Objective objective;
  double mixture;
  per_row<double> old_log_probs, advantages, weights;  ///< by row
  batch_view<G> gradient;                              ///< or empty
  std::span<policy_row> rows;
};

}  // namespace tempflow::detail
