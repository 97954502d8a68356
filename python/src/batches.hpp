// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tensors as the batches of a loss.

#include <optional>
#include <span>
#include <vector>

#include "backend.hpp"
#include "convention.hpp"
#include "policy_rows.hpp"

namespace tempflow::python {

/// What a policy_batch shows, held for as long as an operator runs.
struct held_batch {
  row_tensor x;
  std::optional<row_tensor> y;
  transition_table transitions;
  offset_table offsets;
  mask_tensor mask;
  std::vector<noise_id> ids;

  held_batch(std::string_view operation, const Tensor& from, const std::optional<Tensor>& to,
             const Tensor& steps, const std::optional<Tensor>& cuts,
             const std::optional<Tensor>& counted = {})
      : x(operation, "x", from),
        transitions(operation, "transitions", steps),
        offsets(operation, cuts),
        mask(operation, counted, x) {
    if (to) check_type(operation, "y", *to, x.type()), y.emplace(operation, "y", *to, x);
  }

  template <class T>
  policy_batch<T> batch() const {
    policy_batch<T> shown;
    shown.x = x.view<T>();
    shown.transitions = transitions;
    if (y) shown.y = y->view<T>();
    shown.offsets = offsets;
    shown.mask = mask;
    return shown;
  }
};

template <class G>
batch_view<G> gradient_view(const Tensor& gradient, const row_tensor& v) {
  return {static_cast<G*>(gradient.mutable_data_ptr()), v.rows(), v.columns()};
}

inline std::span<policy_row> rows_of(const Tensor& rows) {
  return {reinterpret_cast<policy_row*>(rows.mutable_data_ptr()), static_cast<std::size_t>(rows.size(0))};
}

/// The velocity of another policy.
inline std::optional<row_tensor> other_velocity(std::string_view operation, std::string_view name,
                                                const std::optional<Tensor>& other, const row_tensor& v) {
  std::optional<row_tensor> rows;
  if (other) check_type(operation, name, *other, v.type()), rows.emplace(operation, name, *other, v);
  return rows;
}

template <class V>
batch_view<const V> view_of(const std::optional<row_tensor>& rows) {
  return rows ? rows->view<V>() : batch_view<const V>();
}

}  // namespace tempflow::python
