// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the fields of DLPack's structs mean, and what messages call them. A field may hold anything.

#include <dlpack/dlpack.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "tempflow/core/error.hpp"
#include "tempflow/core/scalar.hpp"
#include "tempflow/interop/detail/packed_rows.hpp"

namespace tempflow::detail {

/// The dtype of a storage type.
template <storage_scalar T>
inline constexpr DLDataType dlpack_type{kDLFloat, static_cast<std::uint8_t>(8 * sizeof(T)), 1};
template <>
inline constexpr DLDataType dlpack_type<bfloat16>{kDLBfloat, 16, 1};

template <storage_scalar T>
constexpr bool is_dlpack_type(DLDataType dtype) {
  constexpr DLDataType expected = dlpack_type<T>;
  return dtype.code == expected.code && dtype.bits == expected.bits && dtype.lanes == expected.lanes;
}

/// float32, float32x4; "dtype code 17 of 4 bits" for a code that DLPack 0.6 does not know.
inline std::string dlpack_text(DLDataType dtype) {
  constexpr std::array<const char*, 6> names{"int", "uint", "float", "handle", "bfloat", "complex"};
  const std::string lanes = dtype.lanes == 1 ? "" : message("x", dtype.lanes);
  return dtype.code < names.size() ? message(names[dtype.code], dtype.bits, lanes)
                                   : message("dtype code ", dtype.code, " of ", dtype.bits, " bits", lanes);
}

/// A device's type as a number: the enumeration itself cannot hold what DLPack 0.6 does not know.
inline std::int32_t dlpack_device_type(const DLDevice& device) {
  std::int32_t type = 0;
  static_assert(sizeof(device.device_type) == sizeof(type));
  std::memcpy(&type, &device.device_type, sizeof(type));
  return type;
}

/// cpu:0, cuda:1; "device type 99:0".
inline std::string dlpack_text(const DLDevice& device) {
  constexpr std::array<const char*, 14> names{"",     "cpu",       "cuda",      "cuda_host",   "opencl",
                                              "",     "",          "vulkan",    "metal",       "vpi",
                                              "rocm", "rocm_host", "extension", "cuda_managed"};
  const auto type = static_cast<std::uint32_t>(dlpack_device_type(device));
  const bool known = type < names.size() && names[type][0] != '\0';
  return message(known ? names[type] : message("device type ", dlpack_device_type(device)), ":",
                 device.device_id);
}

/// Whether code that runs on a device reaches memory of another.
inline bool dlpack_reaches(const DLDevice& device, const DLDevice& memory) {
  const std::int32_t from = dlpack_device_type(device), to = dlpack_device_type(memory);
  const bool cuda_shares = to == kDLCUDAHost || to == kDLCUDAManaged;
  if (from == kDLCPU) return to == kDLCPU || to == kDLROCMHost || cuda_shares;
  if (from == kDLCUDA && cuda_shares) return true;
  if (from == kDLROCM && to == kDLROCMHost) return true;
  return from == to && device.device_id == memory.device_id;
}

/// As many as any framework has. More are a sign that the struct is none.
inline constexpr std::size_t max_dlpack_dimensions = 64;

/// Whether there is a shape to look at.
inline bool has_dlpack_shape(const DLTensor& tensor) {
  return tensor.ndim >= 1 && static_cast<std::size_t>(tensor.ndim) <= max_dlpack_dimensions &&
         tensor.shape != nullptr;
}

/// The shape of a tensor that has one.
inline std::span<const index_t> dlpack_shape(const DLTensor& tensor) {
  return {tensor.shape, static_cast<std::size_t>(tensor.ndim)};
}

/// The strides of a tensor that has a shape; none when they are null.
inline std::span<const index_t> dlpack_strides(const DLTensor& tensor) {
  return {tensor.strides, tensor.strides == nullptr ? 0 : static_cast<std::size_t>(tensor.ndim)};
}

/// "the float32 tensor of shape (3, 2, 4) and strides (8, 4, 1) on cpu:0".
inline std::string dlpack_text(const DLTensor& tensor) {
  std::string shape = message(tensor.ndim, " dimensions", tensor.shape == nullptr ? " and no shape" : "");
  if (has_dlpack_shape(tensor)) {
    shape = "shape " + tuple_text(dlpack_shape(tensor));
    if (tensor.strides != nullptr) shape += " and strides " + tuple_text(dlpack_strides(tensor));
  }
  const std::string offset =
      tensor.byte_offset == 0 ? "" : " with byte offset " + std::to_string(tensor.byte_offset);
  return message("the ", dlpack_text(tensor.dtype), " tensor of ", shape, offset, " on ",
                 dlpack_text(tensor.device));
}

}  // namespace tempflow::detail
