// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Eigen objects as batches and back: the same memory, the documented orientation, and typed errors.

#include "tempflow/interop/eigen.hpp"

#include <Eigen/Core>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace tf = tempflow;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

template <class T>
using columns_of = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
template <class T>
using rows_of = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class... Arguments>
concept binds = requires(Arguments&&... arguments) {
  tf::batch_view_of(std::forward<Arguments>(arguments)...);
};

/// The type of element that an argument's view gives.
template <class M>
using element_of = typename decltype(tf::batch_view_of(std::declval<M>()))::element_type;

/// Element (i, j) is 10 i + j.
template <class M>
M counted(Eigen::Index rows, Eigen::Index columns) {
  M matrix(rows, columns);
  for (Eigen::Index i = 0; i < rows; ++i) {
    for (Eigen::Index j = 0; j < columns; ++j) matrix(i, j) = static_cast<typename M::Scalar>(10 * i + j);
  }
  return matrix;
}

}  // namespace

TEMPLATE_TEST_CASE("eigen: a column-major matrix holds a sample a column", "", float, double) {
  auto matrix = counted<columns_of<TestType>>(3, 5);
  const tf::batch_view<TestType> batch = tf::batch_view_of(matrix);
  CHECK(batch.data() == matrix.data());
  CHECK(batch.rows() == 5);
  CHECK(batch.columns() == 3);
  CHECK(batch.row_stride() == 3);
  CHECK(batch.row(4)[2] == matrix(2, 4));
  CHECK(tf::batch_view_of(matrix, 5, 3).data() == matrix.data());
}

TEMPLATE_TEST_CASE("eigen: a row-major matrix holds a sample a row", "", float, double) {
  auto matrix = counted<rows_of<TestType>>(3, 5);
  const tf::batch_view<TestType> batch = tf::batch_view_of(matrix, 3, 5);
  CHECK(batch.data() == matrix.data());
  CHECK(batch.row_stride() == 5);
  CHECK(batch.row(2)[4] == matrix(2, 4));
  batch.row(0)[1] = -1;
  CHECK(matrix(0, 1) == -1);
}

TEST_CASE("eigen: arrays, maps, references, blocks and transposes are taken") {
  auto array = counted<Eigen::ArrayXXf>(3, 5);
  CHECK(tf::batch_view_of(array, 5, 3).data() == array.data());

  const auto block = tf::batch_view_of(array.block(1, 2, 2, 3), 3, 2);
  CHECK(block.row_stride() == 3);
  CHECK(block.row(0)[0] == array(1, 2));
  CHECK(block.row(2)[1] == array(2, 4));

  auto transposed = array.transpose();
  const auto same = tf::batch_view_of(transposed, 5, 3);
  CHECK(same.row(4)[2] == array(2, 4));

  Eigen::Ref<Eigen::ArrayXXf> reference = array;
  CHECK(tf::batch_view_of(reference, 5, 3).data() == array.data());

  std::vector<float> memory(20);
  Eigen::Map<rows_of<float>, Eigen::Unaligned, Eigen::OuterStride<>> map(memory.data(), 2, 7,
                                                                         Eigen::OuterStride<>(10));
  CHECK(tf::batch_view_of(map, 2, 7).row(1) == memory.data() + 10);

  Eigen::Matrix<double, 4, 2> fixed;
  CHECK(tf::batch_view_of(fixed, 2, 4).data() == fixed.data());
}

TEST_CASE("eigen: a vector is one sample") {
  Eigen::VectorXf column = Eigen::VectorXf::LinSpaced(6, 0, 5);
  CHECK(tf::batch_view_of(column, 1, 6).row(0)[5] == 5);
  Eigen::RowVector4d row = Eigen::RowVector4d::Ones();
  CHECK(tf::batch_view_of(row, 1, 4).data() == row.data());
  auto matrix = counted<columns_of<float>>(3, 5);
  CHECK(tf::batch_view_of(matrix.col(2), 1, 3).row(0)[1] == 12);
  CHECK(tf::batch_view_of(column.segment(1, 3), 1, 3).row(0)[0] == 1);
}

TEST_CASE("eigen: empty matrices are empty batches") {
  columns_of<float> none;
  CHECK(tf::batch_view_of(none, 0, 0).empty());
  columns_of<float> no_samples(4, 0);
  CHECK(tf::batch_view_of(no_samples, 0, 4).empty());
  rows_of<float> no_elements(4, 0);
  CHECK(tf::batch_view_of(no_elements, 4, 0).empty());
}

TEST_CASE("eigen: constness follows the data") {
  using matrix = Eigen::MatrixXf;
  STATIC_REQUIRE(std::is_same_v<element_of<matrix&>, float>);
  STATIC_REQUIRE(std::is_same_v<element_of<const matrix&>, const float>);
  STATIC_REQUIRE(std::is_same_v<element_of<Eigen::Map<matrix>&>, float>);
  STATIC_REQUIRE(std::is_same_v<element_of<Eigen::Map<const matrix>&>, const float>);
  STATIC_REQUIRE(std::is_same_v<element_of<Eigen::Ref<matrix>&>, float>);
  STATIC_REQUIRE(std::is_same_v<element_of<Eigen::Ref<const matrix>&>, const float>);
  STATIC_REQUIRE(std::is_same_v<element_of<Eigen::Block<matrix>>, float>);
  STATIC_REQUIRE(std::is_same_v<element_of<Eigen::Block<const matrix>>, const float>);
}

TEST_CASE("eigen: temporaries that own their elements do not bind") {
  using matrix = Eigen::MatrixXf;
  STATIC_REQUIRE(!binds<matrix> && !binds<const matrix> && !binds<matrix, int, int>);
  STATIC_REQUIRE(!binds<Eigen::ArrayXd> && !binds<Eigen::Matrix3d> && !binds<Eigen::Ref<const matrix>>);
  STATIC_REQUIRE(binds<matrix&> && binds<const matrix&, int, int> && binds<Eigen::Map<matrix>>);
  STATIC_REQUIRE(binds<Eigen::Ref<matrix>> && binds<Eigen::Block<matrix>>);
  STATIC_REQUIRE(!binds<Eigen::MatrixXi&>);  // no such storage type
  STATIC_REQUIRE(!binds<decltype(std::declval<matrix&>() + std::declval<matrix&>())>);  // not in memory
}

TEST_CASE("eigen: a wrong shape is a shape_error that names both") {
  auto matrix = counted<columns_of<float>>(3, 5);
  CHECK_THROWS_MATCHES(tf::batch_view_of(matrix, 3, 5), tf::shape_error,
                       MessageMatches(ContainsSubstring(
                           "3 x 5, column-major, that is 5 samples of 3 elements; expected 3 samples of 5")));
  const auto rows = counted<rows_of<double>>(3, 5);
  CHECK_THROWS_MATCHES(
      tf::batch_view_of(rows, 4, 5), tf::shape_error,
      MessageMatches(ContainsSubstring("3 x 5, row-major, that is 3 samples of 5 elements; expected "
                                       "4 samples of 5")));
}

TEST_CASE("eigen: samples in pieces are a shape_error") {
  auto matrix = counted<columns_of<float>>(3, 5);
  CHECK_THROWS_MATCHES(
      tf::batch_view_of(matrix.row(1)), tf::shape_error,
      MessageMatches(ContainsSubstring("1 x 5") && ContainsSubstring("1 samples of 5 elements") &&
                     ContainsSubstring("inner stride 3")));
  using strided =
      Eigen::Map<columns_of<float>, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  strided skipping(matrix.data(), 2, 2, {6, 2});
  CHECK_THROWS_AS(tf::batch_view_of(skipping), tf::shape_error);
  strided single(matrix.data(), 1, 2, {6, 2});  // samples of one element: nothing to be side by side
  CHECK(tf::batch_view_of(single, 2, 1).row(1) == matrix.data() + 6);
  Eigen::Map<columns_of<float>, Eigen::Unaligned, Eigen::OuterStride<>> overlapping(matrix.data(), 3, 2,
                                                                                    Eigen::OuterStride<>(2));
  CHECK_THROWS_MATCHES(tf::batch_view_of(overlapping), tf::shape_error,
                       MessageMatches(ContainsSubstring("rows must not overlap")));
}

TEMPLATE_TEST_CASE("eigen: a batch becomes a matrix and back", "", float, double) {
  std::vector<TestType> memory(3 * 10);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<TestType>(i);
  const tf::batch_view<TestType> batch(memory.data(), 3, 8, 10);

  auto rows = tf::eigen_map(batch);
  CHECK(rows.rows() == 3);
  CHECK(rows.cols() == 8);
  CHECK(rows(2, 7) == 27);
  rows(1, 0) = -1;
  CHECK(memory[10] == -1);

  auto columns = tf::eigen_map_columns(batch);
  CHECK(columns.rows() == 8);
  CHECK(columns.cols() == 3);
  CHECK(columns(7, 2) == 27);
  CHECK(rows.transpose() == columns);

  for (const auto& again : {tf::batch_view_of(rows, 3, 8), tf::batch_view_of(columns, 3, 8)}) {
    CHECK(again.data() == batch.data());
    CHECK(again.row_stride() == 10);
  }
  const auto reader = tf::eigen_map(tf::batch_view<const TestType>(batch));
  STATIC_REQUIRE(std::is_same_v<decltype(tf::batch_view_of(reader)), tf::batch_view<const TestType>>);
  CHECK(reader.sum() == rows.sum());
  CHECK(tf::eigen_map(tf::batch_view<TestType>()).size() == 0);
}

TEST_CASE("eigen: 16-bit storage is mapped as it is") {
  std::vector<tf::bfloat16> memory(6);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = tf::store<tf::bfloat16>(static_cast<float>(i));
  const auto map = tf::eigen_map(tf::batch_view<tf::bfloat16>(memory.data(), 2, 3));
  const Eigen::MatrixXf values = map.unaryExpr([](tf::bfloat16 element) { return tf::load(element); });
  CHECK(values(1, 2) == 5);
  columns_of<tf::float16> halves(3, 2);
  CHECK(tf::batch_view_of(halves, 2, 3).columns() == 3);
}
