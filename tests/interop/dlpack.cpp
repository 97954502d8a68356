// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// DLPack's structs as batches and back: the same memory, the documented checks, deleters called once.

#include "tempflow/interop/dlpack.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace tf = tempflow;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

/// A tensor of T over memory of its own, as a producer makes it: element k of the memory is k.
template <class T>
struct produced {
  std::vector<T> memory;
  std::vector<std::int64_t> shape, strides;
  DLTensor tensor{};

  produced(std::size_t size, std::vector<std::int64_t> extents, std::vector<std::int64_t> steps = {})
      : memory(size), shape(std::move(extents)), strides(std::move(steps)) {
    for (std::size_t k = 0; k < size; ++k) memory[k] = tf::store<T>(static_cast<tf::compute_t<T>>(k));
    tensor.data = memory.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = static_cast<int>(shape.size());
    tensor.dtype = tf::detail::dlpack_type<T>;
    tensor.shape = shape.data();
    tensor.strides = strides.empty() ? nullptr : strides.data();
  }
  produced(const produced&) = delete;
  produced& operator=(const produced&) = delete;
};

/// Sets a device's type to a number that the enumeration may not have.
void set_device(DLDevice& device, std::int32_t type, int id) {
  std::memcpy(&device.device_type, &type, sizeof(type));
  device.device_id = id;
}

/// Counts how often it is destroyed while it owns something.
class witness {
 public:
  explicit witness(int& deaths) : deaths_(&deaths) {}
  witness(witness&& other) noexcept : deaths_(std::exchange(other.deaths_, nullptr)) {}
  witness& operator=(witness&& other) noexcept {
    std::swap(deaths_, other.deaths_);
    return *this;
  }
  ~witness() {
    if (deaths_ != nullptr) ++*deaths_;
  }
  bool owns() const { return deaths_ != nullptr; }

 private:
  int* deaths_;
};

template <class... Arguments>
concept binds = requires(Arguments&&... arguments) {
  tf::batch_view_of<float>(std::forward<Arguments>(arguments)...);
};

template <class Managed, class T, class Owner>
concept exports = requires(tf::batch_view<T> batch, Owner&& owner) {
  tf::to_dlpack<Managed>(batch, std::forward<Owner>(owner));
};

template <class Managed>
int deletions = 0;

/// A managed tensor over `tensor` whose deleter counts.
template <class Managed>
Managed managed_over(const DLTensor& tensor) {
  Managed managed{};
  managed.dl_tensor = tensor;
  managed.deleter = [](Managed*) { ++deletions<Managed>; };
  if constexpr (tf::detail::dlpack_versioned<Managed>) managed.version = {1, 0};
  return managed;
}

}  // namespace

#if defined(DLPACK_MAJOR_VERSION) && DLPACK_MAJOR_VERSION >= 1
#define MANAGED DLManagedTensor, DLManagedTensorVersioned
#else
#define MANAGED DLManagedTensor
#endif

TEMPLATE_TEST_CASE("dlpack: the first dimension counts samples, the others are their elements", "", float,
                   double, tf::bfloat16, tf::float16) {
  produced<TestType> source(24, {3, 2, 4});
  const auto batch = tf::batch_view_of<TestType>(source.tensor);
  CHECK(batch.data() == source.memory.data());
  CHECK(batch.rows() == 3);
  CHECK(batch.columns() == 8);
  CHECK(batch.row_stride() == 8);
  CHECK(tf::load(batch.row(2)[5]) == 21);
  const tf::batch_view<const TestType> reader = tf::batch_view_of<const TestType>(source.tensor, 3, 8);
  CHECK(reader.data() == source.memory.data());

  produced<TestType> explicit_strides(24, {3, 2, 4}, {8, 4, 1});
  CHECK(tf::batch_view_of<TestType>(explicit_strides.tensor).row_stride() == 8);
}

TEST_CASE("dlpack: offsets, samples apart, extents of 1, vectors and empty tensors are taken") {
  produced<float> apart(40, {3, 2, 4}, {10, 4, 1});
  apart.tensor.byte_offset = 2 * sizeof(float);
  const auto batch = tf::batch_view_of<float>(apart.tensor, 3, 8);
  CHECK(batch.row_stride() == 10);
  CHECK(batch.row(2)[7] == 2 + 2 * 10 + 7);
  batch.row(1)[0] = -1;
  CHECK(apart.memory[12] == -1);

  produced<float> ones(40, {1, 2, 1, 4}, {-7, 4, 99, 1});
  CHECK(tf::batch_view_of<float>(ones.tensor, 1, 8).row_stride() == 8);
  produced<float> vector(10, {5}, {2});
  CHECK(tf::batch_view_of<float>(vector.tensor, 5, 1).row(4)[0] == 8);

  constexpr std::int64_t most = (std::numeric_limits<std::int64_t>::max)();
  produced<float> none(0, {0, 4}, {3, -5}), hollow(0, {5, most, most, 0});
  for (auto* tensor : {&none.tensor, &hollow.tensor}) tensor->data = nullptr;
  CHECK(tf::batch_view_of<float>(none.tensor, 0, 4).empty());
  CHECK(tf::batch_view_of<float>(hollow.tensor, 5, 0).empty());
}

TEST_CASE("dlpack: another dtype is a value_error that names both") {
  produced<float> source(24, {3, 8});
  CHECK_THROWS_MATCHES(
      tf::batch_view_of<double>(source.tensor), tf::value_error,
      MessageMatches(ContainsSubstring("the float32 tensor of shape (3, 8) on cpu:0 is not of float64")));
  CHECK_THROWS_AS(tf::batch_view_of<tf::float16>(source.tensor), tf::value_error);
  source.tensor.dtype = {kDLFloat, 32, 4};
  CHECK_THROWS_MATCHES(tf::batch_view_of<float>(source.tensor), tf::value_error,
                       MessageMatches(ContainsSubstring("the float32x4 tensor")));
  source.tensor.dtype = {kDLInt, 32, 1};
  CHECK_THROWS_AS(tf::batch_view_of<float>(source.tensor), tf::value_error);
  source.tensor.dtype = {kDLFloat, 16, 1};
  CHECK_THROWS_MATCHES(
      tf::batch_view_of<tf::bfloat16>(source.tensor), tf::value_error,
      MessageMatches(ContainsSubstring("float16 tensor") && ContainsSubstring("of bfloat16")));
  source.tensor.dtype = {17, 4, 1};
  CHECK_THROWS_MATCHES(tf::batch_view_of<float>(source.tensor), tf::value_error,
                       MessageMatches(ContainsSubstring("dtype code 17 of 4 bits")));
}

TEST_CASE("dlpack: each device reaches the documented memories") {
  produced<float> source(24, {3, 8});
  const DLDevice host{kDLCPU, 0}, cuda{kDLCUDA, 1}, rocm{kDLROCM, 1}, metal{kDLMetal, 1};
  const auto reaches = [&](const DLDevice& device, std::int32_t type, int id) {
    set_device(source.tensor.device, type, id);
    try {
      return tf::batch_view_of<float>(source.tensor, 3, 8, device).data() == source.memory.data();
    } catch (const tf::memory_error&) {
      return false;
    }
  };
  struct row {
    std::int32_t type;
    int id;
    bool by_host, by_cuda, by_rocm, by_metal;
  };
  for (const auto& [type, id, by_host, by_cuda, by_rocm, by_metal] :
       {row{kDLCPU, 0, true, false, false, false}, row{kDLCUDAHost, 0, true, true, false, false},
        row{kDLCUDAManaged, 0, true, true, false, false}, row{kDLROCMHost, 0, true, false, true, false},
        row{kDLCUDA, 1, false, true, false, false}, row{kDLCUDA, 0, false, false, false, false},
        row{kDLROCM, 1, false, false, true, false}, row{kDLROCM, 0, false, false, false, false},
        row{kDLMetal, 1, false, false, false, true}, row{kDLMetal, 0, false, false, false, false},
        row{99, 0, false, false, false, false}, row{-1, 1, false, false, false, false}}) {
    CAPTURE(type, id);
    CHECK(reaches(host, type, id) == by_host);
    CHECK(reaches(cuda, type, id) == by_cuda);
    CHECK(reaches(rocm, type, id) == by_rocm);
    CHECK(reaches(metal, type, id) == by_metal);
  }
  set_device(source.tensor.device, kDLCUDA, 1);
  CHECK_THROWS_MATCHES(tf::batch_view_of<float>(source.tensor), tf::memory_error,
                       MessageMatches(ContainsSubstring("on cuda:1 is out of reach of cpu:0")));
  set_device(source.tensor.device, 99, -2);
  CHECK_THROWS_MATCHES(tf::batch_view_of<float>(source.tensor), tf::memory_error,
                       MessageMatches(ContainsSubstring("on device type 99:-2 is out of reach")));
}

TEST_CASE("dlpack: shapes and strides that no batch has are a shape_error that names them") {
  const auto view = [](std::vector<std::int64_t> shape, std::vector<std::int64_t> strides = {}) {
    produced<float> source(64, std::move(shape), std::move(strides));
    return tf::batch_view_of<float>(source.tensor).rows();
  };
  constexpr std::int64_t most = (std::numeric_limits<std::int64_t>::max)();
  CHECK_THROWS_MATCHES(view({}), tf::shape_error, MessageMatches(ContainsSubstring("0 dimensions")));
  CHECK_THROWS_AS(view(std::vector<std::int64_t>(65, 1)), tf::shape_error);
  CHECK(view(std::vector<std::int64_t>(64, 1)) == 1);
  CHECK_THROWS_MATCHES(view({3, 2, 4}, {8, 1, 2}), tf::shape_error,
                       MessageMatches(ContainsSubstring(
                           "the float32 tensor of shape (3, 2, 4) and strides (8, 1, 2) on cpu:0: the 8 "
                           "elements of a sample must be packed in row-major order")));
  CHECK_THROWS_AS(view({3, 4}, {8, 2}), tf::shape_error);
  CHECK_THROWS_AS(view({3, 4}, {8, -1}), tf::shape_error);
  for (const std::int64_t stride : {std::int64_t{3}, std::int64_t{0}, std::int64_t{-4}, -most - 1}) {
    CHECK_THROWS_MATCHES(view({3, 4}, {stride, 1}), tf::shape_error,
                         MessageMatches(ContainsSubstring("rows must not overlap")));
  }
  CHECK_THROWS_AS(view({3, 4}, {most, 1}), tf::shape_error);
  CHECK_THROWS_AS(view({-1, 4}), tf::shape_error);
  CHECK_THROWS_AS(view({4, -1}), tf::shape_error);
  CHECK_THROWS_AS(view({-2, -2}), tf::shape_error);
  CHECK_THROWS_AS(view({0, -1}), tf::shape_error);
  CHECK_THROWS_AS(view({most, most}), tf::shape_error);
  CHECK_THROWS_AS(view({2, most / 2, 4}), tf::shape_error);

  produced<float> source(24, {3, 8});
  CHECK_THROWS_MATCHES(
      tf::batch_view_of<float>(source.tensor, 8, 3), tf::shape_error,
      MessageMatches(ContainsSubstring("is 3 samples of 8 elements; expected 8 samples of 3")));
  source.tensor.shape = nullptr;
  CHECK_THROWS_MATCHES(tf::batch_view_of<float>(source.tensor), tf::shape_error,
                       MessageMatches(ContainsSubstring("2 dimensions and no shape")));
  source.tensor.ndim = -1;
  CHECK_THROWS_AS(tf::batch_view_of<float>(source.tensor), tf::shape_error);
}

TEST_CASE("dlpack: addresses that hold no such elements are a memory_error") {
  produced<float> source(24, {3, 8});
  constexpr auto end = (std::numeric_limits<std::uint64_t>::max)();
  source.tensor.byte_offset = 2;
  CHECK_THROWS_MATCHES(
      tf::batch_view_of<float>(source.tensor), tf::memory_error,
      MessageMatches(ContainsSubstring("with byte offset 2 on cpu:0 is not aligned to 4 bytes")));
  for (const std::uint64_t offset : {end, end - reinterpret_cast<std::uintptr_t>(source.tensor.data) - 11}) {
    source.tensor.byte_offset = offset;
    CHECK_THROWS_MATCHES(tf::batch_view_of<float>(source.tensor), tf::memory_error,
                         MessageMatches(ContainsSubstring("beyond all addresses")));
  }
  source.tensor.byte_offset = 0;
  source.tensor.data = nullptr;
  CHECK_THROWS_MATCHES(tf::batch_view_of<float>(source.tensor), tf::memory_error,
                       MessageMatches(ContainsSubstring("null pointer")));
}

TEST_CASE("dlpack: with_storage_type finds the type of a dtype") {
  const auto size = [](DLDataType dtype) {
    return tf::with_storage_type(dtype, []<class T>(std::type_identity<T>) {
      return std::pair(sizeof(T), std::is_same_v<T, tf::bfloat16>);
    });
  };
  CHECK(size({kDLFloat, 64, 1}) == std::pair(std::size_t{8}, false));
  CHECK(size({kDLFloat, 32, 1}) == std::pair(std::size_t{4}, false));
  CHECK(size({kDLFloat, 16, 1}) == std::pair(std::size_t{2}, false));
  CHECK(size({kDLBfloat, 16, 1}) == std::pair(std::size_t{2}, true));
  for (const DLDataType dtype :
       {DLDataType{kDLFloat, 8, 1}, {kDLFloat, 32, 2}, {kDLInt, 32, 1}, {kDLBfloat, 32, 1}}) {
    CHECK_THROWS_MATCHES(size(dtype), tf::value_error,
                         MessageMatches(ContainsSubstring("expected float64, float32, float16 or bfloat16")));
  }
}

TEMPLATE_TEST_CASE("dlpack: an owner calls the producer's deleter once", "", MANAGED) {
  produced<float> source(24, {3, 8});
  auto managed = managed_over<TestType>(source.tensor);
  deletions<TestType> = 0;
  {
    tf::dlpack_tensor<TestType> owner(&managed);
    CHECK(tf::batch_view_of<float>(owner).data() == source.memory.data());
    CHECK(tf::batch_view_of<float>(managed, 3, 8).data() == source.memory.data());
    tf::dlpack_tensor<TestType> second = std::move(owner);
    CHECK_THROWS_MATCHES(tf::batch_view_of<float>(owner), tf::memory_error,
                         MessageMatches(ContainsSubstring("owns nothing")));
    CHECK(deletions<TestType> == 0);
  }
  CHECK(deletions<TestType> == 1);
  CHECK(tf::dlpack_tensor<TestType>(&managed).release() == &managed);
  CHECK(deletions<TestType> == 1);
  managed.deleter = nullptr;  // the standard has it for a producer with nothing to delete
  tf::dlpack_tensor<TestType>(&managed).reset();
  CHECK(deletions<TestType> == 1);

  STATIC_REQUIRE(binds<tf::dlpack_tensor<TestType>&> && binds<const tf::dlpack_tensor<TestType>&>);
  STATIC_REQUIRE(!binds<tf::dlpack_tensor<TestType>> && !binds<const tf::dlpack_tensor<TestType>>);
}

TEMPLATE_TEST_CASE("dlpack: a buffer becomes a tensor that owns it", "", MANAGED) {
  tf::batch_buffer<tf::bfloat16> buffer(3, 8);
  const tf::bfloat16* const elements = buffer.view().data();
  auto exported = tf::to_dlpack<TestType>(std::move(buffer), {2, 4});
  const DLTensor& tensor = exported->dl_tensor;
  CHECK(tensor.data == elements);
  CHECK(tensor.byte_offset == 0);
  CHECK(tensor.device.device_type == kDLCPU);
  CHECK(tensor.device.device_id == 0);
  CHECK(tensor.dtype.code == kDLBfloat);
  CHECK(tensor.dtype.bits == 16);
  CHECK(tensor.dtype.lanes == 1);
  CHECK(std::vector(tensor.shape, tensor.shape + tensor.ndim) == std::vector<std::int64_t>{3, 2, 4});
  CHECK(std::vector(tensor.strides, tensor.strides + tensor.ndim) == std::vector<std::int64_t>{8, 4, 1});

  TestType* const capsule = exported.release();  // what a consumer does with it
  const tf::dlpack_tensor<TestType> taken(capsule);
  const auto batch = tf::batch_view_of<tf::bfloat16>(taken, 3, 8);
  CHECK(batch.data() == elements);
  batch.row(2)[7] = tf::store<tf::bfloat16>(1.0f);

  CHECK(tf::to_dlpack<TestType>(tf::batch_buffer<float>(3, 8))->dl_tensor.ndim == 2);
  const auto empty = tf::to_dlpack<TestType>(tf::batch_buffer<float>(0, 8));
  CHECK(empty->dl_tensor.data == nullptr);
  CHECK(tf::batch_view_of<float>(empty, 0, 8).empty());
}

TEMPLATE_TEST_CASE("dlpack: an exported view keeps its owner until the deleter, and its stride", "",
                   MANAGED) {
  std::vector<double> memory(40);
  const tf::batch_view<double> batch(memory.data() + 1, 3, 8, 10);
  int deaths = 0;
  {
    const auto exported = tf::to_dlpack<TestType>(batch, witness(deaths), {4, 2}, DLDevice{kDLCUDAHost, 0});
    CHECK(deaths == 0);
    CHECK(exported->dl_tensor.strides[0] == 10);
    CHECK(exported->dl_tensor.device.device_type == kDLCUDAHost);
    CHECK(tf::batch_view_of<double>(exported, 3, 8).row(2) == batch.row(2));
  }
  CHECK(deaths == 1);

  const auto shared = std::make_shared<int>(0);
  const auto exported = tf::to_dlpack<TestType>(batch, std::shared_ptr(shared));
  CHECK(shared.use_count() == 2);
  CHECK(exported->dl_tensor.shape[1] == 8);
}

TEMPLATE_TEST_CASE("dlpack: what cannot be exported is left with its owner", "", MANAGED) {
  std::vector<float> memory(24);
  const tf::batch_view<float> batch(memory.data(), 3, 8);
  int deaths = 0;
  witness owner(deaths);
  CHECK_THROWS_MATCHES(
      tf::to_dlpack<TestType>(batch, std::move(owner), {3, 3}), tf::shape_error,
      MessageMatches(ContainsSubstring("shape (3, 3) has 9 elements, expected the batch's 8")));
  CHECK_THROWS_AS(tf::to_dlpack<TestType>(batch, std::move(owner), {-2, -4}), tf::shape_error);
  CHECK_THROWS_AS(tf::to_dlpack<TestType>(batch, std::move(owner), std::vector<tf::index_t>(80, 1)),
                  tf::shape_error);
  CHECK(owner.owns());
  tf::batch_buffer<float> buffer(3, 8);
  CHECK_THROWS_AS(tf::to_dlpack<TestType>(std::move(buffer), {7}), tf::shape_error);
  CHECK(buffer.view().data() != nullptr);
  CHECK(deaths == 0);

  STATIC_REQUIRE(exports<TestType, float, witness>);
  STATIC_REQUIRE(!exports<TestType, float, witness&>);  // a copy would not be what the batch is a view of
  STATIC_REQUIRE(!exports<TestType, float, const std::vector<float>>);
}

TEST_CASE("dlpack: a legacy tensor cannot be read-only, so const batches are not exported as one") {
  STATIC_REQUIRE(!exports<DLManagedTensor, const float, witness>);
}

#if defined(DLPACK_MAJOR_VERSION) && DLPACK_MAJOR_VERSION >= 1

TEST_CASE("dlpack: a read-only tensor is read and not written") {
  produced<float> source(24, {3, 8});
  auto managed = managed_over<DLManagedTensorVersioned>(source.tensor);
  managed.flags = DLPACK_FLAG_BITMASK_READ_ONLY | DLPACK_FLAG_BITMASK_IS_COPIED;
  CHECK(tf::batch_view_of<const float>(managed).data() == source.memory.data());
  CHECK_THROWS_MATCHES(tf::batch_view_of<float>(managed), tf::memory_error,
                       MessageMatches(ContainsSubstring("is read-only")));
  managed.flags = DLPACK_FLAG_BITMASK_IS_COPIED;
  CHECK(tf::batch_view_of<float>(managed).data() == source.memory.data());

  const std::vector<float> memory(24);
  const auto exported = tf::to_dlpack<DLManagedTensorVersioned>(
      tf::batch_view<const float>(memory.data(), 3, 8), std::make_unique<int>(0));
  CHECK(exported->flags == DLPACK_FLAG_BITMASK_READ_ONLY);
  CHECK_THROWS_AS(tf::batch_view_of<float>(exported), tf::memory_error);
  CHECK(tf::batch_view_of<const float>(exported, 3, 8).data() == memory.data());
}

TEST_CASE("dlpack: a tensor of another major version is refused and still deleted") {
  produced<float> source(24, {3, 8});
  auto managed = managed_over<DLManagedTensorVersioned>(source.tensor);
  deletions<DLManagedTensorVersioned> = 0;
  for (const std::uint32_t major : {0u, 2u, 4000000000u}) {
    managed.version = {major, 7};
    const tf::dlpack_tensor<DLManagedTensorVersioned> owner(&managed);
    CHECK_THROWS_MATCHES(tf::batch_view_of<const float>(owner), tf::value_error,
                         MessageMatches(ContainsSubstring("expected version 1")));
  }
  CHECK(deletions<DLManagedTensorVersioned> == 3);
  managed.version = {1, 99};
  CHECK(tf::batch_view_of<float>(managed).rows() == 3);
  CHECK(tf::to_dlpack<DLManagedTensorVersioned>(tf::batch_buffer<float>(1, 1))->version.major ==
        DLPACK_MAJOR_VERSION);
}

#endif
