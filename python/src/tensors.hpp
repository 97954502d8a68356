// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tensors of torch's stable ABI as what the library takes: batches, masks and numbers per row. Everything is checked
// before a view is made.

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "errors.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/element_mask.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/scalar.hpp"

namespace tempflow::python {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline std::string_view name_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Half: return "float16";
    case ScalarType::Long: return "int64";
    case ScalarType::Int: return "int32";
    case ScalarType::Bool: return "bool";
    default: return torch::headeronly::toString(type);
  }
}

template <class T>
constexpr ScalarType scalar_type_of() {
  if constexpr (std::is_same_v<T, float>) return ScalarType::Float;
  if constexpr (std::is_same_v<T, double>) return ScalarType::Double;
  if constexpr (std::is_same_v<T, bfloat16>) return ScalarType::BFloat16;
  if constexpr (std::is_same_v<T, float16>) return ScalarType::Half;
  if constexpr (std::is_same_v<T, std::int64_t>) return ScalarType::Long;
}

inline std::string shape_of(const Tensor& tensor) {
  std::string text;
  for (const std::int64_t extent : tensor.sizes()) text += detail::message(text.empty() ? "" : ", ", extent);
  return "(" + text + ")";
}

inline void check_type(std::string_view operation, std::string_view name, const Tensor& tensor,
                       ScalarType type) {
  if (tensor.scalar_type() != type) {
    throw value_error(detail::message(operation, ": ", name, " is ", name_of(tensor.scalar_type()),
                                      ", expected ", name_of(type)));
  }
}

/// Throws memory_error unless a tensor is on the device of another: a device's stream orders its own memory alone.
inline void check_device(std::string_view operation, std::string_view name, const Tensor& tensor,
                         const Tensor& x) {
  const auto text = [](const Tensor& t) {
    return t.is_cuda() ? detail::message("cuda:", t.get_device_index()) : std::string("the CPU");
  };
  if (tensor.is_cuda() != x.is_cuda() || tensor.get_device_index() != x.get_device_index()) {
    throw memory_error(
        detail::message(operation, ": ", name, " is on ", text(tensor), ", the first batch on ", text(x)));
  }
}

/// A tensor (B, ...) as a batch of B rows: the other extents together are a row's elements. Rows that are packed are
/// looked at where they lie, however far apart; others are copied.
class row_tensor {
 public:
  row_tensor(std::string_view operation, std::string_view name, const Tensor& tensor) : tensor_(tensor) {
    if (tensor.dim() < 1) {
      throw shape_error(detail::message(operation, ": ", name, " has shape (), expected (rows, ...)"));
    }
    rows_ = tensor.size(0);
    for (std::int64_t d = tensor.dim(); --d > 0;) {
      packed_ = packed_ && (tensor.size(d) == 1 || tensor.stride(d) == columns_);
      columns_ *= tensor.size(d);
    }
    packed_ = packed_ && (rows_ < 2 || tensor.stride(0) >= columns_);
    if (!packed_ && rows_ * columns_ > 0) tensor_ = torch::stable::contiguous(tensor);
    stride_ = rows_ > 1 && columns_ > 0 ? tensor_.stride(0) : columns_;
  }

  /// One whose rows have the extents of x's: as many elements in another order would be taken for them.
  row_tensor(std::string_view operation, std::string_view name, const Tensor& tensor, const row_tensor& x)
      : row_tensor(operation, name, tensor) {
    const auto extents = tensor.sizes(), expected = x.tensor_.sizes();
    if (!std::equal(extents.begin() + 1, extents.end(), expected.begin() + 1, expected.end())) {
      throw shape_error(detail::message(operation, ": ", name, " has shape ", shape_of(tensor),
                                        ", whose rows are not like those of x, ", shape_of(x.tensor_)));
    }
    check_device(operation, name, tensor, x.tensor_);
  }

  /// Throws shape_error for a tensor that cannot be written to as it is.
  void check_packed(std::string_view operation, std::string_view name) const {
    if (!packed_ || stride_ != columns_) {
      throw shape_error(
          detail::message(operation, ": ", name, " has shape ", shape_of(tensor_), " and is not contiguous"));
    }
  }

  index_t rows() const { return rows_; }
  index_t columns() const { return columns_; }
  ScalarType type() const { return tensor_.scalar_type(); }
  const Tensor& tensor() const { return tensor_; }

  template <class T>
  batch_view<const T> view() const {
    return {static_cast<const T*>(tensor_.const_data_ptr()), rows_, columns_, stride_};
  }

 private:
  Tensor tensor_;
  index_t rows_ = 0, columns_ = 1, stride_ = 1;
  bool packed_ = true;
};

/// Which elements of x count: bools or bytes of the shape of x, of one row (1, ...), or of a row without the first extent.
class mask_tensor {
 public:
  mask_tensor(std::string_view operation, const std::optional<Tensor>& given, const row_tensor& x) {
    if (!given) return;
    const Tensor& batch = x.tensor();
    if (given->scalar_type() != ScalarType::Bool && given->scalar_type() != ScalarType::Byte) {
      throw value_error(detail::message(operation, ": mask is ", name_of(given->scalar_type()),
                                        ", expected bool or uint8"));
    }
    const auto extents = given->sizes(), expected = batch.sizes();
    const bool shared = given->dim() + 1 == batch.dim();
    const auto first = extents.begin() + (shared ? 0 : 1);
    if ((!shared && given->dim() != batch.dim()) ||
        !std::equal(first, extents.end(), expected.begin() + 1, expected.end())) {
      throw shape_error(detail::message(operation, ": mask has shape ", shape_of(*given), ", x ",
                                        shape_of(batch), "; it has that, or that of one row"));
    }
    check_device(operation, "mask", *given, batch);
    held_ = given->is_contiguous() ? *given : torch::stable::contiguous(*given);
    mask_ = {static_cast<const std::uint8_t*>(held_->const_data_ptr()), shared ? 1 : given->size(0),
             x.columns()};
  }

  operator element_mask() const { return mask_; }

 private:
  std::optional<Tensor> held_;
  element_mask mask_;
};

/// A packed tensor to write to.
template <class T>
batch_view<T> output_view(const Tensor& tensor) {
  index_t columns = 1;
  for (const std::int64_t extent : tensor.sizes().slice(1)) columns *= extent;
  return {static_cast<T*>(tensor.mutable_data_ptr()), tensor.size(0), columns};
}

/// The shape of a tensor with another number of rows.
inline std::vector<std::int64_t> with_rows(const Tensor& like, index_t rows) {
  const auto sizes = like.sizes();
  std::vector<std::int64_t> shape(sizes.begin(), sizes.end());
  shape[0] = rows;
  return shape;
}

/// Numbers where another tensor lies: results per row.
inline Tensor numbers_like(const Tensor& like, std::initializer_list<std::int64_t> shape) {
  return torch::stable::new_empty(like, std::vector<std::int64_t>(shape), ScalarType::Double);
}

inline std::span<double> values_of(const Tensor& numbers) {
  return {static_cast<double*>(numbers.mutable_data_ptr()), static_cast<std::size_t>(numbers.numel())};
}

}  // namespace tempflow::python
