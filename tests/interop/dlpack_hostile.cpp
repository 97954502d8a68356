// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// DLPack tensors with anything in their fields: a typed error, or a view of exactly the elements that the
// tensor has by DLPack's own formula, address(i) = data + byte_offset + sum_d i_d strides_d * bytes.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <random>

#include "support/catch.hpp"
#include "tempflow/interop/dlpack.hpp"

namespace tf = tempflow;

namespace {

constexpr std::int64_t most = (std::numeric_limits<std::int64_t>::max)();
constexpr std::int64_t least = (std::numeric_limits<std::int64_t>::min)();

/// A tensor, and the shape and strides that it points to.
struct hostile_tensor {
  std::array<std::int64_t, 70> shape{}, strides{};
  DLTensor tensor{};
};

class generator {
 public:
  explicit generator(std::uint64_t seed) : bits_(seed) {}

  template <class T, std::size_t N>
  T one_of(const std::array<T, N>& choices) {
    return choices[bits_() % N];
  }
  std::int64_t up_to(std::int64_t limit) { return static_cast<std::int64_t>(bits_() % (limit + 1)); }
  bool once_in(std::uint64_t n) { return bits_() % n == 0; }
  std::int64_t anything() { return static_cast<std::int64_t>(bits_()); }

 private:
  std::mt19937_64 bits_;
};

/// Fields that are small and often make sense, but for a few. The elements of `shape` and `strides` lie in the
/// first `bytes` of `memory` wherever neither is negative.
void fill_small(generator& draw, hostile_tensor& out, std::byte* memory) {
  DLTensor& tensor = out.tensor;
  tensor.ndim = static_cast<std::int32_t>(draw.up_to(4));
  std::int64_t packed = 1;
  for (std::int32_t d = tensor.ndim; d-- > 0;) {
    out.shape[d] = draw.once_in(40) ? -draw.up_to(2) : 1 + draw.up_to(3);
    out.strides[d] = draw.once_in(8) ? draw.up_to(12) - 4 : packed + (d == 0 ? draw.up_to(3) : 0);
    packed *= out.shape[d];
  }
  tensor.data = draw.once_in(50) ? nullptr : memory;
  tensor.byte_offset = static_cast<std::uint64_t>(draw.up_to(3) * 4 + (draw.once_in(20) ? draw.up_to(3) : 0));
  tensor.shape = draw.once_in(50) ? nullptr : out.shape.data();
  tensor.strides = draw.once_in(4) ? nullptr : out.strides.data();
}

/// Fields from the ends of their types.
void fill_large(generator& draw, hostile_tensor& out, std::byte* memory) {
  constexpr std::array<std::int64_t, 16> numbers{
      0, 1, 1, 2, 3, -1, -3, 1 << 16, 1 << 30, most / 2, most / 4, 1LL << 40, most, least, 4, 1LL << 59};
  DLTensor& tensor = out.tensor;
  for (std::size_t d = 0; d < out.shape.size(); ++d) {
    out.shape[d] = draw.once_in(30) ? draw.anything() : draw.one_of(numbers);
    out.strides[d] = draw.once_in(30) ? draw.anything() : draw.one_of(numbers);
  }
  tensor.ndim = draw.one_of(std::array<std::int32_t, 10>{1, 1, 2, 2, 3, 5, 64, 65, -1, 0x7fffffff});
  tensor.data = draw.one_of(std::array<void*, 4>{memory, memory, nullptr, memory + 1});
  tensor.byte_offset = static_cast<std::uint64_t>(draw.once_in(4) ? draw.one_of(numbers) : 4 * draw.up_to(8));
  tensor.shape = draw.once_in(30) ? nullptr : out.shape.data();
  tensor.strides = draw.once_in(3) ? nullptr : out.strides.data();
}

void fill_kind(generator& draw, DLTensor& tensor) {
  const std::int32_t type = draw.once_in(20) ? static_cast<std::int32_t>(draw.anything())
                                             : draw.one_of(std::array<std::int32_t, 4>{1, 1, 3, 13});
  std::memcpy(&tensor.device.device_type, &type, sizeof(type));
  tensor.device.device_id = static_cast<std::int32_t>(draw.once_in(10) ? draw.anything() : 0);
  tensor.dtype = {kDLFloat, 32, 1};
  if (draw.once_in(20)) {
    std::memset(&tensor.dtype, 0, sizeof(tensor.dtype));
    tensor.dtype.code = static_cast<std::uint8_t>(draw.up_to(255));
    tensor.dtype.bits = static_cast<std::uint8_t>(draw.up_to(255));
    tensor.dtype.lanes = static_cast<std::uint16_t>(draw.up_to(3));
  }
}

/// Where element (i, j) of a batch lies, counted in elements, by DLPack's formula: sample i, and j in row-major
/// order of the other dimensions. Exact for whatever fits 64 bits.
std::int64_t element_of(const hostile_tensor& all, std::int64_t i, std::int64_t j) {
  const DLTensor& tensor = all.tensor;
  std::int64_t at = 0, packed = 1;
  for (std::int32_t d = tensor.ndim; d-- > 1;) {
    const std::int64_t stride = tensor.strides == nullptr ? packed : all.strides[d];
    if (all.shape[d] > 1) at += j % all.shape[d] * stride;
    j /= all.shape[d];
    packed *= all.shape[d];
  }
  return at + (all.shape[0] > 1 ? i * (tensor.strides == nullptr ? packed : all.strides[0]) : 0);
}

/// The product of the extents from dimension `d` on, if it is that of a batch; exact.
std::optional<std::int64_t> product_from(const hostile_tensor& all, std::int32_t d) {
  long double approximate = 1;
  std::uint64_t exact = 1;  // modulo 2^64: the number itself where the approximation is below 2^63
  for (; d < all.tensor.ndim; ++d) {
    if (all.shape[d] < 0) return std::nullopt;
    approximate *= static_cast<long double>(all.shape[d]);
    exact *= static_cast<std::uint64_t>(all.shape[d]);
  }
  if (approximate > 0x1p62L) return std::nullopt;
  return static_cast<std::int64_t>(exact);
}

std::optional<tf::batch_view<float>> view_of(const DLTensor& tensor) {
  try {
    return tf::batch_view_of<float>(tensor);
  } catch (const tf::error& refusal) {
    CHECK(std::strlen(refusal.what()) > 20);
    return std::nullopt;
  }
}

}  // namespace

TEST_CASE("dlpack: a small hostile tensor is a view of its own elements, or refused for a reason") {
  generator draw(1);
  alignas(4) static std::array<std::byte, 4096> memory{};
  int taken = 0, refused = 0;
  for (int attempt = 0; attempt < 20000; ++attempt) {
    hostile_tensor all;
    fill_kind(draw, all.tensor);
    fill_small(draw, all, memory.data());
    const DLTensor& tensor = all.tensor;
    const auto batch = view_of(tensor);

    // What the contract says of it, by the formula.
    std::int32_t type = 0;
    std::memcpy(&type, &tensor.device.device_type, sizeof(type));
    bool fits = (type == 1 || type == 3 || type == 11 || type == 13) && tensor.dtype.code == kDLFloat &&
                tensor.dtype.bits == 32 && tensor.dtype.lanes == 1 && tensor.ndim > 0 &&
                tensor.shape != nullptr;
    const auto columns = fits ? product_from(all, 1) : std::nullopt;
    fits = fits && columns && all.shape[0] >= 0;
    const std::int64_t rows = fits ? all.shape[0] : 0;
    const bool empty = fits && (rows == 0 || *columns == 0);
    if (fits && !empty) {
      fits = tensor.data != nullptr && tensor.byte_offset % sizeof(float) == 0;
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < *columns; ++j) {
          fits = fits && element_of(all, i, j) - element_of(all, i, 0) == j;
        }
        fits = fits && (i == 0 || element_of(all, i, 0) - element_of(all, i - 1, 0) >= *columns);
      }
    }
    CAPTURE(attempt, tf::detail::dlpack_text(tensor));
    REQUIRE(batch.has_value() == fits);
    ++(fits ? taken : refused);
    if (!fits) continue;

    CHECK(batch->rows() == rows);
    CHECK(batch->columns() == *columns);
    bool same = true;
    float sum = 0;  // reads what the view has: memory that is there
    for (std::int64_t i = 0; i < rows && !empty; ++i) {
      for (std::int64_t j = 0; j < *columns; ++j) {
        const std::byte* const address = memory.data() + tensor.byte_offset +
                                         element_of(all, i, j) * static_cast<std::int64_t>(sizeof(float));
        same = same && reinterpret_cast<const std::byte*>(batch->row(i) + j) == address;
        sum += batch->row(i)[j];
      }
    }
    CHECK(same);
    CHECK(sum == 0);
  }
  CHECK(taken > 4000);
  CHECK(refused > 4000);
}

TEST_CASE("dlpack: no view of a large hostile tensor leaves the range of its elements or of addresses") {
  generator draw(2);
  alignas(4) static std::array<std::byte, 64> memory{};
  int taken = 0, refused = 0;
  for (int attempt = 0; attempt < 20000; ++attempt) {
    hostile_tensor all;
    fill_kind(draw, all.tensor);
    fill_large(draw, all, memory.data());
    const auto batch = view_of(all.tensor);
    ++(batch ? taken : refused);
    if (!batch) continue;

    CAPTURE(attempt, tf::detail::dlpack_text(all.tensor));
    REQUIRE(product_from(all, 1) == batch->columns());
    REQUIRE(batch->rows() == all.shape[0]);
    if (batch->empty()) continue;
    // Its last element is the tensor's last one, and lies below the end of addresses.
    const auto start = reinterpret_cast<std::uintptr_t>(all.tensor.data) + all.tensor.byte_offset;
    CHECK(reinterpret_cast<std::uintptr_t>(batch->data()) == start);
    CHECK(start >= reinterpret_cast<std::uintptr_t>(all.tensor.data));
    CHECK(start % sizeof(float) == 0);
    const std::int64_t last = (batch->rows() - 1) * batch->row_stride() + batch->columns() - 1;
    CHECK(last == element_of(all, batch->rows() - 1, batch->columns() - 1));
    CHECK(static_cast<long double>(start) + 4 * (static_cast<long double>(last) + 1) <= 0x1p64L);
    CHECK(last >= 0);
  }
  CHECK(taken > 400);
  CHECK(refused > 4000);
}
