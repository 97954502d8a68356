// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// LibTorch's tensors as batches, and batches as tensors: the same memory, nothing copied. Needs ATen alone.
//
//   at::Tensor v = model.forward(...).contiguous();
//   tf::policy_loss(backend, batch, tf::batch_view_of<const float>(v), {}, objective, tf::batch_view_of<float>(grad));
//
// The first dimension counts the samples, all others together are a sample's elements: a tensor (B, C, H, W) is a batch
// of B rows. Elements of a sample must be packed in row-major order; samples may lie further apart. Torch's threads:
// torch_threads.hpp; a loss for autograd: torch_loss.hpp.

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <concepts>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/interop/detail/packed_rows.hpp"

namespace tempflow {

/// Calls f(std::type_identity<T>()) for the storage type that a dtype means, and returns what it does:
/// `with_storage_type(v.scalar_type(), [&]<class T>(std::type_identity<T>) { ... })`.
/// Throws value_error for a dtype that is none of float64, float32, float16 and bfloat16.
template <class F>
decltype(auto) with_storage_type(at::ScalarType dtype, F&& f) {
  switch (dtype) {
    case at::kFloat: return f(std::type_identity<float>());
    case at::kDouble: return f(std::type_identity<double>());
    case at::kBFloat16: return f(std::type_identity<bfloat16>());
    case at::kHalf: return f(std::type_identity<float16>());
    default: break;
  }
  throw value_error(detail::message("with_storage_type: a tensor of ", c10::toString(dtype),
                                    ", expected float64, float32, float16 or bfloat16"));
}

namespace detail {

/// The dtype of a storage type.
template <storage_scalar T>
constexpr at::ScalarType torch_dtype() {
  if constexpr (std::same_as<T, float>) {
    return at::kFloat;
  } else if constexpr (std::same_as<T, double>) {
    return at::kDouble;
  } else if constexpr (std::same_as<T, bfloat16>) {
    return at::kBFloat16;
  } else {
    static_assert(std::same_as<T, float16>);
    return at::kHalf;
  }
}

inline std::string torch_text(const at::Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  const auto tuple = [](at::IntArrayRef values) { return tuple_text({values.data(), values.size()}); };
  return message("a tensor of ", c10::toString(tensor.scalar_type()), " on ", tensor.device().str(),
                 ", shape ", tuple(tensor.sizes()),
                 tensor.layout() == at::kStrided ? ", strides " + tuple(tensor.strides()) : ", not strided");
}

/// Throws unless the elements of a tensor are where its pointer says, as it says, and may be looked at.
inline void check_torch_memory(const at::Tensor& tensor, at::ScalarType dtype, at::DeviceType reached_by) {
  const auto refuse = [&](const auto&... why) {
    return memory_error(message("batch_view_of: ", torch_text(tensor), why...));
  };
  if (!tensor.defined()) throw refuse("");
  if (tensor.layout() != at::kStrided) throw refuse(": a batch is strided");
  if (tensor.scalar_type() != dtype) {
    throw value_error(message("batch_view_of: ", torch_text(tensor), ", expected ", c10::toString(dtype)));
  }
  if (tensor.device().type() != reached_by) {
    throw refuse(", expected on ", c10::DeviceTypeName(reached_by, true));
  }
  if (tensor.is_conj() || tensor.is_neg())
    throw refuse(": conjugated or negated when read; resolve it first");
  if (tensor.requires_grad() && at::GradMode::is_enabled()) {
    throw refuse(
        ": it requires grad, and what is done to a view autograd does not see; detach it, or take the ",
        "view under at::NoGradGuard");
  }
}

}  // namespace detail

/// The batch that a tensor holds: shape (B, ...) gives B rows, and as many columns as the other extents multiply to.
/// T: const for reading. The view lives as long as the tensor's memory.
///
/// `reached_by`: where the batch is used: at::kCPU, or at::kCUDA for a device backend.
///
/// Throws value_error for a dtype other than T's; memory_error for a tensor that is undefined, not strided, on another
/// device, lazily negated or conjugated, or requires grad while gradients are recorded; shape_error for a tensor
/// without dimensions and samples that are not packed or overlap.
template <class T>
  requires(storage_scalar<std::remove_const_t<T>>)
batch_view<T> batch_view_of(const at::Tensor& tensor, at::DeviceType reached_by = at::kCPU) {
  detail::check_torch_memory(tensor, detail::torch_dtype<std::remove_const_t<T>>(), reached_by);
  const auto [rows, columns, row_stride] = detail::rows_of_tensor(
      {tensor.sizes().data(), tensor.sizes().size()}, {tensor.strides().data(), tensor.strides().size()},
      sizeof(T), [&] { return detail::torch_text(tensor); });
  if (rows == 0 || columns == 0) return {nullptr, rows, columns};
  return {static_cast<T*>(tensor.data_ptr()), rows, columns, row_stride};
}

/// As above, for a batch of `rows` samples of `columns` elements each.
/// Throws as above, and shape_error when the tensor holds another shape: the message names both.
template <class T>
  requires(storage_scalar<std::remove_const_t<T>>)
batch_view<T> batch_view_of(const at::Tensor& tensor, index_t rows, index_t columns,
                            at::DeviceType reached_by = at::kCPU) {
  const auto batch = batch_view_of<T>(tensor, reached_by);
  detail::check_rows(batch.rows(), batch.columns(), rows, columns,
                     [&] { return detail::torch_text(tensor); });
  return batch;
}

/// A temporary may take the elements with it: give it a name first.
template <class T, class... Arguments>
  requires(storage_scalar<std::remove_const_t<T>>)
void batch_view_of(at::Tensor&& temporary, Arguments...) = delete;

/// A batch in host memory as a tensor (B, shape...), which keeps `owner` alive: batch.storage of a minibatch, a
/// std::shared_ptr to a rollout, or whatever else keeps the elements. Torch knows no tensors that are only read: what is
/// const stays so by the caller's care. Throws shape_error unless the extents of `shape` multiply to the columns.
///
///   tensor_of(batch.x, {16, 64, 64}, batch.storage)
template <class T, class Owner>
at::Tensor tensor_of(batch_view<T> batch, at::IntArrayRef shape, Owner owner) {
  const auto strides =
      detail::strides_of_rows("tensor_of", {shape.data(), shape.size()}, batch.columns(), batch.row_stride());
  std::vector<std::int64_t> sizes{batch.rows()};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  auto* const first = const_cast<std::remove_const_t<T>*>(batch.data());
  return at::from_blob(
      first, sizes, strides,
      [kept = std::make_shared<Owner>(std::move(owner))](void*) mutable { kept.reset(); },
      at::TensorOptions(detail::torch_dtype<std::remove_const_t<T>>()));
}

/// As above, for a buffer that is handed over: `tensor_of(std::move(samples), {16, 64, 64})`.
template <storage_scalar T>
at::Tensor tensor_of(batch_buffer<T>&& buffer, at::IntArrayRef shape) {
  auto kept = std::make_shared<batch_buffer<T>>(std::move(buffer));
  const batch_view<T> batch = kept->view();
  return tensor_of(batch, shape, std::move(kept));
}

}  // namespace tempflow
