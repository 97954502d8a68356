// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// xtensor containers and views as batches and back: the same memory, the documented shapes, and typed errors.

#include "tempflow/interop/xtensor.hpp"

#include <array>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

#if __has_include(<xtensor/containers/xtensor.hpp>)
#include <xtensor/containers/xarray.hpp>
#include <xtensor/containers/xfixed.hpp>
#include <xtensor/containers/xtensor.hpp>
#include <xtensor/views/xview.hpp>
#else
#include <xtensor/xarray.hpp>
#include <xtensor/xfixed.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>
#endif

namespace tf = tempflow;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

template <class... Arguments>
concept binds = requires(Arguments&&... arguments) {
  tf::batch_view_of(std::forward<Arguments>(arguments)...);
};

/// 0, 1, 2, ... in shape (3, 2, 4).
template <class T>
xt::xarray<T> counted() {
  xt::xarray<T> tensor = xt::xarray<T>::from_shape({3, 2, 4});
  for (std::size_t i = 0; i < tensor.size(); ++i) tensor.data()[i] = static_cast<T>(i);
  return tensor;
}

}  // namespace

TEMPLATE_TEST_CASE("xtensor: the first dimension counts samples, the others are their elements", "", float,
                   double) {
  auto tensor = counted<TestType>();
  const auto batch = tf::batch_view_of(tensor);
  STATIC_REQUIRE(std::is_same_v<decltype(batch), const tf::batch_view<TestType>>);
  CHECK(batch.data() == tensor.data());
  CHECK(batch.rows() == 3);
  CHECK(batch.columns() == 8);
  CHECK(batch.row_stride() == 8);
  CHECK(batch.row(2)[5] == tensor(2, 1, 1));

  const auto& constant = tensor;
  STATIC_REQUIRE(std::is_same_v<decltype(tf::batch_view_of(constant)), tf::batch_view<const TestType>>);
  CHECK(tf::batch_view_of(constant, 3, 8).data() == tensor.data());
}

TEST_CASE("xtensor: every container is taken") {
  xt::xtensor<float, 3> tensor = counted<float>();
  CHECK(tf::batch_view_of(tensor).columns() == 8);

  xt::xtensor_fixed<double, xt::xshape<2, 5>> fixed;
  CHECK(tf::batch_view_of(fixed, 2, 5).data() == fixed.data());

  xt::xtensor<tf::bfloat16, 2> brain = xt::xtensor<tf::bfloat16, 2>::from_shape({4, 6});
  const tf::batch_view<tf::bfloat16> stored = tf::batch_view_of(brain);
  CHECK(stored.columns() == 6);

  std::vector<float> elements(12);
  auto adaptor = xt::adapt(elements, std::array<std::size_t, 2>{4, 3});
  CHECK(tf::batch_view_of(adaptor, 4, 3).data() == elements.data());

  const std::vector<float>& constant = elements;
  auto reader = xt::adapt(constant, std::vector<std::size_t>{2, 6});
  const tf::batch_view<const float> read = tf::batch_view_of(reader, 2, 6);
  CHECK(read.data() == elements.data());

  xt::xtensor<float, 1> rewards = {1, 2, 3};
  CHECK(tf::batch_view_of(rewards, 3, 1).row(2)[0] == 3);
  xt::xtensor<float, 2> one = {{1, 2, 3}};
  CHECK(tf::batch_view_of(one, 1, 3).row(0)[2] == 3);
  xt::xtensor<float, 3> none = xt::xtensor<float, 3>::from_shape({0, 2, 4});
  CHECK(tf::batch_view_of(none, 0, 8).empty());
  xt::xtensor<float, 3> hollow = xt::xtensor<float, 3>::from_shape({5, 0, 4});
  CHECK(tf::batch_view_of(hollow, 5, 0).empty());
}

TEST_CASE("xtensor: a view with packed samples keeps its offset and stride") {
  auto tensor = counted<float>();
  auto part = xt::view(tensor, xt::range(1, 3), 1);  // (2, 4), 8 apart, from element 12
  const auto batch = tf::batch_view_of(part, 2, 4);
  CHECK(batch.row_stride() == 8);
  CHECK(batch.data() == tensor.data() + 12);
  batch.row(1)[3] = -1;
  CHECK(tensor(2, 1, 3) == -1);

  const auto& constant = tensor;
  auto reader = xt::view(constant, 0);  // (2, 4)
  const tf::batch_view<const float> read = tf::batch_view_of(reader, 2, 4);
  CHECK(read.data() == tensor.data());
}

TEST_CASE("xtensor: what no batch can hold is a shape_error that names both shapes") {
  auto tensor = counted<float>();
  CHECK_THROWS_MATCHES(
      tf::batch_view_of(tensor, 3, 9), tf::shape_error,
      MessageMatches(ContainsSubstring("shape (3, 2, 4) is 3 samples of 8 elements; expected 3 "
                                       "samples of 9")));
  auto skipping = xt::view(tensor, xt::all(), xt::all(), xt::range(0, 4, 2));
  CHECK_THROWS_MATCHES(
      tf::batch_view_of(skipping), tf::shape_error,
      MessageMatches(ContainsSubstring("shape (3, 2, 2) has strides (8, 4, 2), the 4 elements")));
  xt::xtensor<float, 2, xt::layout_type::column_major> columns =
      xt::xtensor<float, 2, xt::layout_type::column_major>::from_shape({3, 2});
  CHECK_THROWS_MATCHES(tf::batch_view_of(columns), tf::shape_error,
                       MessageMatches(ContainsSubstring("shape (3, 2) has strides (1, 3)")));
  xt::xarray<float> scalar = 1.0f;
  CHECK_THROWS_MATCHES(tf::batch_view_of(scalar), tf::shape_error,
                       MessageMatches(ContainsSubstring("shape (), expected (samples, ...)")));
  std::array<float, 4> memory{};
  auto repeated = xt::adapt(memory.data(), 8, xt::no_ownership(), std::array<std::size_t, 2>{2, 4},
                            std::array<std::ptrdiff_t, 2>{0, 1});  // one sample twice
  CHECK_THROWS_MATCHES(tf::batch_view_of(repeated), tf::shape_error,
                       MessageMatches(ContainsSubstring("rows must not overlap")));
}

TEST_CASE("xtensor: temporaries do not bind") {
  using tensor = xt::xtensor<float, 2>;
  STATIC_REQUIRE(binds<tensor&> && binds<const tensor&> && binds<tensor&, tf::index_t, tf::index_t>);
  STATIC_REQUIRE(!binds<tensor> && !binds<const tensor> && !binds<tensor, tf::index_t, tf::index_t>);
  STATIC_REQUIRE(!binds<xt::xtensor<int, 2>&>);
}

TEST_CASE("xtensor: a batch becomes a tensor and back") {
  std::vector<float> memory(3 * 10);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i);
  const tf::batch_view<float> batch(memory.data(), 3, 8, 10);

  auto flat = tf::xtensor_adapt(batch);
  CHECK(flat.dimension() == 2);
  CHECK(flat(2, 7) == 27);
  auto images = tf::xtensor_adapt(batch, std::array<std::size_t, 3>{2, 1, 4});
  CHECK(images.dimension() == 4);
  CHECK(images(2, 1, 0, 3) == 27);
  images(1, 0, 0, 0) = -1;
  CHECK(memory[10] == -1);

  const auto again = tf::batch_view_of(images, 3, 8);
  CHECK(again.data() == batch.data());
  CHECK(again.row_stride() == 10);

  const auto reader = tf::xtensor_adapt(tf::batch_view<const float>(batch));
  CHECK(reader(0, 1) == 1);
  CHECK(tf::xtensor_adapt(tf::batch_view<float>()).size() == 0);
  const auto single = tf::xtensor_adapt(batch.slice(1, 1));
  CHECK(single(0, 7) == 17);

  CHECK_THROWS_MATCHES(
      tf::xtensor_adapt(batch, std::array<std::size_t, 2>{3, 3}), tf::shape_error,
      MessageMatches(ContainsSubstring("shape (3, 3) has 9 elements, expected the batch's 8 columns")));
}
