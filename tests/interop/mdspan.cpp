// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Multidimensional spans as batches and back: the same memory, the documented shapes, and typed errors. With
// std::mdspan where the compiler has it, else with CUDA's.

#include "tempflow/interop/mdspan.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>
#include <version>

#include "support/catch.hpp"

#ifdef __cpp_lib_mdspan
#include <mdspan>
namespace md = std;
#else
#include <cuda/std/array>
#include <cuda/std/mdspan>
namespace md = cuda::std;
#endif

namespace tf = tempflow;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

template <class... Arguments>
concept binds = requires(Arguments&&... arguments) {
  tf::batch_view_of(std::forward<Arguments>(arguments)...);
};

template <class M, class T, class... Extents>
concept makes = requires(tf::batch_view<T> batch, Extents... extents) {
  tf::mdspan_of<M>(batch, extents...);
};

template <class T, std::size_t Rank, class Layout = md::layout_right, class Index = std::ptrdiff_t>
using tensor = md::mdspan<T, md::dextents<Index, Rank>, Layout>;

/// 0, 1, 2, ...
template <class T = float>
std::vector<T> counted(std::size_t size) {
  std::vector<T> elements(size);
  for (std::size_t i = 0; i < size; ++i) elements[i] = static_cast<T>(i);
  return elements;
}

/// The element of an mdspan at indices: what its own mapping and accessor say.
template <class M, class... Indices>
decltype(auto) at(const M& span, Indices... indices) {
  return span.accessor().access(span.data_handle(),
                                span.mapping()(static_cast<typename M::index_type>(indices)...));
}

/// A layout_stride mdspan of the given extents and strides.
template <class T, class Index = std::ptrdiff_t, std::size_t Rank>
tensor<T, Rank, md::layout_stride, Index> strided(T* data, std::array<Index, Rank> extents,
                                                  std::array<Index, Rank> strides) {
  md::array<Index, Rank> shape{}, steps{};
  for (std::size_t r = 0; r < Rank; ++r) {
    shape[r] = extents[r];
    steps[r] = strides[r];
  }
  const md::dextents<Index, Rank> all(shape);
  return {data, md::layout_stride::mapping<md::dextents<Index, Rank>>(all, steps)};
}

/// Element i of p is p[-i].
template <class T>
struct backwards {
  using offset_policy = backwards;
  using element_type = T;
  using reference = T&;
  using data_handle_type = T*;
  constexpr reference access(T* p, std::size_t i) const { return *(p - i); }
  constexpr T* offset(T* p, std::size_t i) const { return p - i; }
};

/// Twice the element.
template <class T>
struct doubling {
  using offset_policy = doubling;
  using element_type = T;
  using reference = T;
  using data_handle_type = T*;
  constexpr reference access(T* p, std::size_t i) const { return 2 * p[i]; }
  constexpr T* offset(T* p, std::size_t i) const { return p + i; }
};

}  // namespace

TEMPLATE_TEST_CASE("mdspan: the first dimension counts samples, the others are their elements", "", float,
                   double) {
  auto memory = counted<TestType>(24);
  const tensor<TestType, 3> span(memory.data(), 3, 2, 4);
  const auto batch = tf::batch_view_of(span);
  STATIC_REQUIRE(std::is_same_v<decltype(batch), const tf::batch_view<TestType>>);
  CHECK(batch.data() == memory.data());
  CHECK(batch.rows() == 3);
  CHECK(batch.columns() == 8);
  CHECK(batch.row_stride() == 8);
  CHECK(&batch.row(2)[5] == &at(span, 2, 1, 1));
  CHECK(tf::batch_view_of(span, 3, 8).data() == memory.data());

  const tensor<const TestType, 3> reader = span;
  STATIC_REQUIRE(std::is_same_v<decltype(tf::batch_view_of(reader)), tf::batch_view<const TestType>>);
  CHECK(tf::batch_view_of(reader, 3, 8).data() == memory.data());
}

TEST_CASE("mdspan: static extents, other index types, 16-bit storage and temporaries are taken") {
  auto memory = counted(12);
  CHECK(tf::batch_view_of(md::mdspan<float, md::extents<int, 3, 4>>(memory.data()), 3, 4).row(2)[3] == 11);
  CHECK(tf::batch_view_of(tensor<float, 2, md::layout_right, std::size_t>(memory.data(), 3u, 4u), 3, 4)
            .row_stride() == 4);
  CHECK(tf::batch_view_of(tensor<float, 2, md::layout_right, std::uint8_t>(memory.data(), 3, 4), 3, 4)
            .columns() == 4);
  CHECK(tf::batch_view_of(tensor<float, 1>(memory.data(), 12), 12, 1).row(11)[0] == 11);
  CHECK(tf::batch_view_of(tensor<float, 2>(memory.data(), 0, 4), 0, 4).empty());
  CHECK(tf::batch_view_of(tensor<float, 3>(memory.data(), 5, 0, 4), 5, 0).empty());
  CHECK(tf::batch_view_of(tensor<float, 2>(), 0, 0).empty());

  std::vector<tf::bfloat16> brain(6);
  CHECK(tf::batch_view_of(tensor<tf::bfloat16, 2>(brain.data(), 2, 3), 2, 3).data() == brain.data());
  std::vector<tf::float16> halves(6);
  CHECK(tf::batch_view_of(tensor<const tf::float16, 2>(halves.data(), 2, 3), 2, 3).data() == halves.data());
}

TEST_CASE("mdspan: packed samples may lie apart, and the stride of an extent of 1 means nothing") {
  auto memory = counted(40);
  const auto apart = strided(memory.data() + 1, std::array<std::ptrdiff_t, 3>{3, 2, 4}, {10, 4, 1});
  const auto batch = tf::batch_view_of(apart, 3, 8);
  CHECK(batch.row_stride() == 10);
  CHECK(&batch.row(2)[7] == &at(apart, 2, 1, 3));
  batch.row(1)[0] = -1;
  CHECK(memory[11] == -1);

  const auto every_other = strided(memory.data(), std::array<std::ptrdiff_t, 1>{5}, {2});
  CHECK(&tf::batch_view_of(every_other, 5, 1).row(4)[0] == memory.data() + 8);
  const auto ones = strided(memory.data(), std::array<std::ptrdiff_t, 4>{1, 2, 1, 4}, {40, 4, 9, 1});
  CHECK(tf::batch_view_of(ones, 1, 8).row_stride() == 8);
}

TEST_CASE("mdspan: layout_left is refused unless it fits") {
  auto memory = counted(12);
  CHECK_THROWS_MATCHES(
      tf::batch_view_of(tensor<float, 2, md::layout_left>(memory.data(), 3, 4)), tf::shape_error,
      MessageMatches(ContainsSubstring("extents (3, 4) and strides (1, 3): the 4 elements of a "
                                       "sample must be packed in row-major order")));
  CHECK(tf::batch_view_of(tensor<float, 2, md::layout_left>(memory.data(), 1, 12), 1, 12).row(0)[11] == 11);
  CHECK(tf::batch_view_of(tensor<float, 2, md::layout_left>(memory.data(), 12, 1), 12, 1).row(11)[0] == 11);
}

TEST_CASE("mdspan: what no batch can hold is a shape_error that names the shape") {
  auto memory = counted(24);
  const tensor<float, 3> span(memory.data(), 3, 2, 4);
  CHECK_THROWS_MATCHES(tf::batch_view_of(span, 3, 9), tf::shape_error,
                       MessageMatches(ContainsSubstring(
                           "extents (3, 2, 4) is 3 samples of 8 elements; expected 3 samples of 9")));
  const auto skipping = strided(memory.data(), std::array<std::ptrdiff_t, 2>{3, 2}, {8, 2});
  CHECK_THROWS_MATCHES(tf::batch_view_of(skipping), tf::shape_error,
                       MessageMatches(ContainsSubstring("strides (8, 2): the 2 elements")));
  const auto transposed = strided(memory.data(), std::array<std::ptrdiff_t, 3>{1, 4, 2}, {8, 1, 4});
  CHECK_THROWS_AS(tf::batch_view_of(transposed), tf::shape_error);
  const tensor<float, 2> nowhere(nullptr, 2, 3);
  CHECK_THROWS_AS(tf::batch_view_of(nowhere), tf::shape_error);

  using huge = tensor<float, 3, md::layout_right, std::size_t>;
  const auto most = (std::numeric_limits<std::size_t>::max)();
  CHECK_THROWS_MATCHES(tf::batch_view_of(huge(memory.data(), 1u, most, 1u)), tf::shape_error,
                       MessageMatches(ContainsSubstring("negative, or too large to address")));
  CHECK_THROWS_AS(tf::batch_view_of(huge(memory.data(), 2u, most / 8, 1u)), tf::shape_error);
}

TEST_CASE("mdspan: only elements in memory are taken, by the accessor of pointers") {
  STATIC_REQUIRE(binds<tensor<float, 2>> && binds<const tensor<float, 2>&> &&
                 binds<tensor<double, 2>&, int, int>);
  STATIC_REQUIRE(!binds<tensor<int, 2>> && !binds<tensor<float, 0>>);
  using two = md::dextents<std::ptrdiff_t, 2>;
  STATIC_REQUIRE(binds<md::mdspan<float, two, md::layout_right, md::default_accessor<float>>>);
  STATIC_REQUIRE(!binds<md::mdspan<float, two, md::layout_right, backwards<float>>>);
  STATIC_REQUIRE(!binds<md::mdspan<float, two, md::layout_right, doubling<float>>>);
}

TEST_CASE("mdspan: a batch becomes an mdspan and back") {
  auto memory = counted(30);
  const tf::batch_view<float> batch(memory.data(), 3, 8, 10);

  const auto flat = tf::mdspan_of<tensor<float, 2, md::layout_stride>>(batch);
  CHECK(flat.extent(1) == 8);
  CHECK(at(flat, 2, 7) == 27);
  const auto images = tf::mdspan_of<tensor<float, 4, md::layout_stride>>(batch, 2, 1, 4);
  CHECK(at(images, 2, 1, 0, 3) == 27);
  at(images, 1, 0, 0, 0) = -1;
  CHECK(memory[10] == -1);
  const auto again = tf::batch_view_of(images, 3, 8);
  CHECK(again.data() == batch.data());
  CHECK(again.row_stride() == 10);

  const tf::batch_view<const float> constant = batch;
  const auto reader = tf::mdspan_of<tensor<const float, 2, md::layout_stride>>(constant);
  CHECK(reader.data_handle() == memory.data());

  const tf::batch_view<float> packed(memory.data(), 3, 8);
  const auto right = tf::mdspan_of<tensor<float, 3>>(packed, std::size_t{2}, 4);
  CHECK(at(right, 2, 1, 3) == 23);
  const auto fixed =
      tf::mdspan_of<md::mdspan<const float, md::extents<int, md::dynamic_extent, 2, 4>>>(packed, 2, 4);
  CHECK(at(fixed, 1, 1, 0) == 12);
  const auto samples =
      tf::mdspan_of<tensor<float, 1, md::layout_stride>>(tf::batch_view<float>(memory.data(), 3, 1, 10));
  CHECK(at(samples, 2) == 20);
}

TEST_CASE("mdspan: empty batches and single samples become mdspans that keep their library's rules") {
  auto memory = counted(8);
  using stride = tensor<float, 3, md::layout_stride>;
  for (const auto& [rows, inner] : {std::pair<tf::index_t, tf::index_t>{0, 4}, {5, 0}, {0, 0}, {1, 4}}) {
    const tf::batch_view<float> batch(memory.data(), rows, 2 * inner);
    const auto span = tf::mdspan_of<stride>(batch, 2, inner);
    CHECK(span.extent(0) == rows);
    CHECK(span.extent(2) == inner);
    for (const std::size_t r : {0, 1, 2}) CHECK(span.mapping().stride(r) > 0);
    CHECK(span.mapping().is_unique());
    CHECK(tf::batch_view_of(span, rows, 2 * inner).rows() == rows);
    CHECK(tf::mdspan_of<tensor<float, 3>>(batch, 2, inner).extent(1) == 2);
  }
  const tf::batch_view<float> one(memory.data(), 1, 8, 3);  // a single row has no stride to overlap by
  CHECK(tf::mdspan_of<stride>(one, 2, 4).mapping().stride(0) == 8);
}

TEST_CASE("mdspan: an mdspan that a batch does not fit is a shape_error that names both") {
  auto memory = counted(300);
  const tf::batch_view<float> apart(memory.data(), 3, 8, 10), packed(memory.data(), 3, 8);
  CHECK_THROWS_MATCHES(
      (tf::mdspan_of<tensor<float, 3>>(packed, 3, 3)), tf::shape_error,
      MessageMatches(ContainsSubstring("shape (3, 3) has 9 elements, expected the batch's 8 columns")));
  CHECK_THROWS_AS((tf::mdspan_of<tensor<float, 3>>(packed, -2, -4)), tf::shape_error);
  CHECK_THROWS_AS((tf::mdspan_of<tensor<float, 3>>(packed, (std::numeric_limits<std::size_t>::max)(), 8)),
                  tf::shape_error);
  const auto large = std::int64_t{1} << 40;
  CHECK_THROWS_AS((tf::mdspan_of<tensor<float, 4>>(tf::batch_view<float>(nullptr, 3, 0), large, large, 0)),
                  tf::shape_error);
  CHECK_THROWS_AS((tf::mdspan_of<tensor<float, 3>>(tf::batch_view<float>(nullptr, large, 0), large, 0)),
                  tf::shape_error);

  CHECK_THROWS_MATCHES(
      (tf::mdspan_of<tensor<float, 2>>(apart)), tf::shape_error,
      MessageMatches(ContainsSubstring("shape (3, 8) and strides (10, 1): stride 0 of the mdspan's "
                                       "layout is 8")));
  CHECK_THROWS_AS((tf::mdspan_of<tensor<float, 2, md::layout_left>>(packed)), tf::shape_error);
  const auto sample = packed.slice(1, 1);
  CHECK((tf::mdspan_of<tensor<float, 2, md::layout_left>>(sample)).data_handle() == sample.data());

  using fixed = md::mdspan<float, md::extents<int, md::dynamic_extent, 9>>;
  CHECK_THROWS_MATCHES(tf::mdspan_of<fixed>(packed), tf::shape_error,
                       MessageMatches(ContainsSubstring("extent 1 of the mdspan is 9")));
  using narrow = tensor<float, 2, md::layout_stride, std::uint8_t>;
  CHECK(tf::mdspan_of<narrow>(tf::batch_view<float>(memory.data(), 15, 17)).extent(0) == 15);  // 255
  CHECK_THROWS_MATCHES(tf::mdspan_of<narrow>(tf::batch_view<float>(memory.data(), 16, 16)), tf::shape_error,
                       MessageMatches(ContainsSubstring("size does not fit")));
  CHECK_THROWS_MATCHES(tf::mdspan_of<narrow>(tf::batch_view<float>(memory.data(), 1, 256)), tf::shape_error,
                       MessageMatches(ContainsSubstring("extent 1 does not fit")));
  CHECK_THROWS_AS(tf::mdspan_of<narrow>(tf::batch_view<float>(memory.data(), 15, 16, 18)), tf::shape_error);
}

TEST_CASE("mdspan: constness, storage and rank are the compiler's to check") {
  STATIC_REQUIRE(makes<tensor<const float, 2>, float> && makes<tensor<const float, 2>, const float>);
  STATIC_REQUIRE(!makes<tensor<float, 2>, const float> && !makes<tensor<double, 2>, float>);
  STATIC_REQUIRE(makes<tensor<float, 3>, float, int, int> && makes<tensor<float, 1>, float>);
  STATIC_REQUIRE(!makes<tensor<float, 3>, float> && !makes<tensor<float, 3>, float, int>);
  STATIC_REQUIRE(!makes<tensor<float, 2>, float, double>);
}
