// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// DLPack tensors with anything in their fields: a typed error, or a view whose rows lie where the tensor's elements lie.

#include "tempflow/interop/dlpack.hpp"

#include <array>

#include "fuzz/input.hpp"

namespace tf = tempflow;

namespace {

template <class T>
void check(const DLTensor& tensor, const std::array<std::int64_t, 8>& shape, const std::byte* memory,
           std::size_t bytes) {
  const auto batch = tf::batch_view_of<const T>(tensor);
  fuzz::require(batch.rows() == shape[0], "the first extent counts the rows");
  if (batch.empty()) return;
  const auto* const first = reinterpret_cast<const std::byte*>(batch.data());
  fuzz::require(first == static_cast<const std::byte*>(tensor.data) + tensor.byte_offset,
                "a view begins where the tensor does");
  const auto reach = static_cast<std::size_t>((batch.rows() - 1) * batch.row_stride() + batch.columns());
  if (tensor.data != memory || tensor.byte_offset > bytes || reach > (bytes - tensor.byte_offset) / sizeof(T))
    return;
  double sum = 0;
  for (tf::index_t i = 0; i < batch.rows(); ++i) {
    for (tf::index_t e = 0; e < batch.columns(); ++e) sum += static_cast<double>(tf::load(batch.row(i)[e]));
  }
  fuzz::require(sum == 0, "what is read is the tensor's");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  alignas(64) static const std::array<std::byte, 4096> memory{};
  fuzz::input in(data, size);
  std::array<std::int64_t, 8> shape{}, strides{};
  DLTensor tensor{};
  tensor.ndim = in.flip() ? in.choose(8) : static_cast<std::int32_t>(in.integer());
  if (tensor.ndim > 8) tensor.ndim = in.flip() ? 65 : 8;  // 8 extents are there
  for (auto& extent : shape) extent = in.integer();
  for (auto& stride : strides) stride = in.integer();
  tensor.data = in.choose(8) == 0 ? reinterpret_cast<void*>(in.take<std::uintptr_t>())
                                  : const_cast<std::byte*>(memory.data());
  tensor.byte_offset = static_cast<std::uint64_t>(in.integer());
  tensor.shape = in.choose(16) == 0 ? nullptr : shape.data();
  tensor.strides = in.flip() ? nullptr : strides.data();
  const auto device = in.choose(4) == 0 ? in.take<std::int32_t>() : 1;
  std::memcpy(&tensor.device.device_type, &device, sizeof device);
  if (in.choose(8) == 0) {
    tensor.dtype = {in.take<std::uint8_t>(), in.take<std::uint8_t>(), in.take<std::uint16_t>()};
  } else {
    const std::array<DLDataType, 4> known{
        {{kDLFloat, 32, 1}, {kDLFloat, 64, 1}, {kDLFloat, 16, 1}, {kDLBfloat, 16, 1}}};
    tensor.dtype = known[static_cast<std::size_t>(in.choose(4))];
  }
  try {
    tf::with_storage_type(tensor.dtype, [&]<class T>(std::type_identity<T>) {
      check<T>(tensor, shape, memory.data(), memory.size());
    });
  } catch (const tf::error&) {
  }
  return 0;
}
