// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tensors of other frameworks as batches, and batches as tensors for them: DLPack's structs, nothing copied.
// PyTorch, NumPy, JAX, CuPy and TensorFlow speak it. https://dmlc.github.io/dlpack, 0.6 and later.
//
//   tf::dlpack_tensor<DLManagedTensor> owner(managed);  // calls its deleter in the end
//   const auto x = tf::batch_view_of<float>(owner);     // a batch in the producer's memory
//
//   auto managed = tf::to_dlpack(std::move(buffer), {4, 64, 64});
//   PyCapsule_New(managed.release(), "dltensor", ...);  // now it is the capsule's to delete
//
// The first dimension counts the samples, all others together are a sample's elements, packed in row-major
// order; samples may lie further apart. Nothing here waits for a stream: producer and consumer see to that.

#include <dlpack/dlpack.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/interop/detail/dlpack_text.hpp"
#include "tempflow/interop/detail/packed_rows.hpp"

namespace tempflow {

/// DLManagedTensor, or DLManagedTensorVersioned of DLPack 1.
template <class M>
concept dlpack_managed = requires(M& managed) {
  { managed.dl_tensor } -> std::same_as<DLTensor&>;
  managed.deleter(&managed);
};

namespace detail {

/// One that says which version it is, and whether it may be written.
template <class M>
concept dlpack_versioned = dlpack_managed<M> && requires(M& managed) {
  managed.version.major;
  managed.flags;
};

// Of the structs as they are used here, which a newer header may not change the meaning of.
inline constexpr std::uint32_t dlpack_major = 1;
inline constexpr std::uint64_t dlpack_read_only = 1;

struct dlpack_deleter {
  template <class Managed>
  void operator()(Managed* managed) const {
    if (managed->deleter != nullptr) managed->deleter(managed);  // null: nothing to delete
  }
};

}  // namespace detail

/// Owns a tensor that a producer has handed over, as by a capsule: calls its deleter, once. What is known of
/// std::unique_ptr is known of it; release() hands the tensor on.
template <dlpack_managed Managed>
using dlpack_tensor = std::unique_ptr<Managed, detail::dlpack_deleter>;

/// What batch_view_of<T> takes: any of DLPack's structs, or a dlpack_tensor. It refers to it, and is made in
/// the call.
class dlpack_ref {
 public:
  dlpack_ref(const DLTensor& tensor) : tensor_(&tensor) {}

  /// Throws value_error for a major version other than 1, whose tensor nobody knows how to read.
  template <dlpack_managed Managed>
  dlpack_ref(const Managed& managed) : tensor_(&managed.dl_tensor) {
    if constexpr (detail::dlpack_versioned<Managed>) {
      if (managed.version.major != detail::dlpack_major) {
        throw value_error(detail::message("batch_view_of: a tensor of DLPack ", managed.version.major, ".",
                                          managed.version.minor, ", expected version ",
                                          detail::dlpack_major));
      }
      read_only_ = (managed.flags & detail::dlpack_read_only) != 0;
    }
  }

  /// Throws as above, and memory_error for an owner of nothing.
  template <dlpack_managed Managed>
  dlpack_ref(const dlpack_tensor<Managed>& owner) : dlpack_ref(owned(owner)) {}

  /// A temporary would take the elements with it: give it a name first.
  template <dlpack_managed Managed>
  dlpack_ref(const dlpack_tensor<Managed>&& temporary) = delete;

  const DLTensor& tensor() const { return *tensor_; }

  /// Whether the producer forbids to write it, which only DLManagedTensorVersioned can say.
  bool read_only() const { return read_only_; }

 private:
  template <class Managed>
  static const Managed& owned(const dlpack_tensor<Managed>& owner) {
    if (owner == nullptr) throw memory_error("batch_view_of: the dlpack_tensor owns nothing");
    return *owner;
  }

  const DLTensor* tensor_;
  bool read_only_ = false;
};

/// The batch that a tensor holds: shape (B, ...) gives B rows, and as many columns as the other extents
/// multiply to. T: const for reading. The view lives as long as the tensor's memory.
///
/// `reached_by` is where the batch will be used, {kDLCUDA, 1} for a cuda_backend on device 1. The host reaches
/// the host's memory and CUDA's and ROCm's pinned and managed one; a GPU reaches its own and those; any other
/// device its own. Device numbers are the caller's, and addresses are taken at the producer's word.
///
/// Throws value_error for a dtype other than T's; memory_error for memory that is null, out of reach, not
/// aligned for T, beyond the end of all addresses, or read-only when T is not const; shape_error for none or
/// more than 64 dimensions, extents that are negative or too large, and samples that are not packed or
/// overlap. Strides may be null: packed in row-major order.
template <class T>
  requires(storage_scalar<std::remove_const_t<T>>)
batch_view<T> batch_view_of(dlpack_ref source, DLDevice reached_by = {kDLCPU, 0}) {
  const DLTensor& tensor = source.tensor();
  const auto text = [&tensor] { return detail::dlpack_text(tensor); };
  if (!detail::is_dlpack_type<std::remove_const_t<T>>(tensor.dtype)) {
    throw value_error(detail::message("batch_view_of: ", text(), " is not of ",
                                      detail::dlpack_text(detail::dlpack_type<std::remove_const_t<T>>)));
  }
  if (!detail::dlpack_reaches(reached_by, tensor.device)) {
    throw memory_error(
        detail::message("batch_view_of: ", text(), " is out of reach of ", detail::dlpack_text(reached_by)));
  }
  if (source.read_only() && !std::is_const_v<T>) {
    throw memory_error(
        detail::message("batch_view_of: ", text(), " is read-only: view it as const elements"));
  }
  if (!detail::has_dlpack_shape(tensor)) {
    throw shape_error(
        detail::message("batch_view_of: ", text(), ", expected 1 to ", detail::max_dlpack_dimensions));
  }
  const auto shape = detail::dlpack_shape(tensor), strides = detail::dlpack_strides(tensor);
  const auto [rows, columns, row_stride] = detail::rows_of_tensor(shape, strides, sizeof(T), text);
  if (rows == 0 || columns == 0) return {nullptr, rows, columns};

  // No sum may wrap around, and no memory is larger than half of all addresses, which the rows are known
  // not to be.
  const auto start = reinterpret_cast<std::uintptr_t>(tensor.data);
  const auto bytes = static_cast<std::uintptr_t>((rows - 1) * row_stride + columns) * sizeof(T);
  constexpr auto end = (std::numeric_limits<std::uintptr_t>::max)();
  if (start == 0) throw memory_error(detail::message("batch_view_of: ", text(), " has a null pointer"));
  if (tensor.byte_offset > end / 2 - bytes || start > end - tensor.byte_offset - bytes) {
    throw memory_error(detail::message("batch_view_of: ", text(), " ends beyond all addresses"));
  }
  if ((start + tensor.byte_offset) % alignof(T) != 0) {
    throw memory_error(
        detail::message("batch_view_of: ", text(), " is not aligned to ", alignof(T), " bytes"));
  }
  void* const first = static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
  return {static_cast<T*>(first), rows, columns, row_stride};
}

/// As above, for a batch of `rows` samples of `columns` elements each.
/// Throws as above, and shape_error when the tensor holds another shape: the message names both.
template <class T>
  requires(storage_scalar<std::remove_const_t<T>>)
batch_view<T> batch_view_of(dlpack_ref source, index_t rows, index_t columns,
                            DLDevice reached_by = {kDLCPU, 0}) {
  const auto batch = batch_view_of<T>(source, reached_by);
  detail::check_rows(batch.rows(), batch.columns(), rows, columns,
                     [&] { return detail::dlpack_text(source.tensor()); });
  return batch;
}

/// Calls f(std::type_identity<T>()) for the storage type that a dtype means, and returns what it does:
/// `with_storage_type(tensor.dtype, [&]<class T>(std::type_identity<T>) { ... })`.
/// Throws value_error for a dtype that is none of float64, float32, float16 and bfloat16.
template <class F>
decltype(auto) with_storage_type(DLDataType dtype, F&& f) {
  if (detail::is_dlpack_type<float>(dtype)) return f(std::type_identity<float>());
  if (detail::is_dlpack_type<bfloat16>(dtype)) return f(std::type_identity<bfloat16>());
  if (detail::is_dlpack_type<float16>(dtype)) return f(std::type_identity<float16>());
  if (detail::is_dlpack_type<double>(dtype)) return f(std::type_identity<double>());
  throw value_error(detail::message("with_storage_type: ", detail::dlpack_text(dtype),
                                    ", expected float64, float32, float16 or bfloat16"));
}

namespace detail {

/// What an exported tensor consists of; manager_ctx points to it.
template <class Managed, class Owner>
struct dlpack_export {
  Managed managed;
  std::vector<index_t> shape, strides;
  Owner owner;
};

}  // namespace detail

/// A batch as a tensor of shape (B, shape...) that keeps `owner`, until its deleter is called: the buffer that
/// the batch is a view of, or a shared_ptr to it. The owner is moved in, so pass a copy of what is shared.
///
/// Managed: DLManagedTensor, or DLManagedTensorVersioned (DLPack 1), which alone can say that a const batch is
/// not to be written. `device`: where the batch lies. The owner's destructor runs where the consumer calls the
/// deleter, on any thread. Throws shape_error unless the extents of `shape` multiply to the batch's columns;
/// the owner is then left as it was.
template <dlpack_managed Managed = DLManagedTensor, class T, std::movable Owner>
  requires(!std::is_const_v<T> || detail::dlpack_versioned<Managed>)
dlpack_tensor<Managed> to_dlpack(batch_view<T> batch, Owner&& owner, std::vector<index_t> shape,
                                 DLDevice device = {kDLCPU, 0}) {
  using exported = detail::dlpack_export<Managed, Owner>;
  std::vector<index_t> strides =
      detail::strides_of_rows("to_dlpack", shape, batch.columns(), batch.row_stride());
  shape.insert(shape.begin(), batch.rows());
  if (shape.size() > detail::max_dlpack_dimensions) {
    throw shape_error(
        detail::message("to_dlpack: ", shape.size(), " dimensions, at most ", detail::max_dlpack_dimensions));
  }
  std::unique_ptr<exported> made(new exported{{}, std::move(shape), std::move(strides), std::move(owner)});
  Managed& managed = made->managed;
  if constexpr (detail::dlpack_versioned<Managed>) {
    managed.version = {detail::dlpack_major, 0};
    managed.flags = std::is_const_v<T> ? detail::dlpack_read_only : 0;
  }
  DLTensor& tensor = managed.dl_tensor;
  tensor.data = batch.empty() ? nullptr : const_cast<std::remove_const_t<T>*>(batch.data());
  tensor.device = device;
  tensor.ndim = static_cast<std::int32_t>(made->shape.size());
  tensor.dtype = detail::dlpack_type<std::remove_const_t<T>>;
  tensor.shape = made->shape.data();
  tensor.strides = made->strides.data();
  managed.manager_ctx = made.get();
  managed.deleter = [](Managed* self) { delete static_cast<exported*>(self->manager_ctx); };
  return dlpack_tensor<Managed>(&made.release()->managed);
}

/// As above, of shape (B, D).
template <dlpack_managed Managed = DLManagedTensor, class T, std::movable Owner>
  requires(!std::is_const_v<T> || detail::dlpack_versioned<Managed>)
dlpack_tensor<Managed> to_dlpack(batch_view<T> batch, Owner&& owner) {
  return to_dlpack<Managed>(batch, std::forward<Owner>(owner), {batch.columns()});
}

/// A buffer as a tensor of shape (B, shape...) that owns it. Throws as above, and then leaves it as it was.
template <dlpack_managed Managed = DLManagedTensor, storage_scalar T>
dlpack_tensor<Managed> to_dlpack(batch_buffer<T>&& buffer, std::vector<index_t> shape) {
  const batch_view<T> all = buffer.view();  // moving the buffer leaves the elements where they are
  return to_dlpack<Managed>(all, std::move(buffer), std::move(shape));
}

/// As above, of shape (B, D).
template <dlpack_managed Managed = DLManagedTensor, storage_scalar T>
dlpack_tensor<Managed> to_dlpack(batch_buffer<T>&& buffer) {
  const index_t columns = buffer.columns();
  return to_dlpack<Managed>(std::move(buffer), {columns});
}

}  // namespace tempflow
