// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Multidimensional spans as batches, and batches as multidimensional spans: the same memory, nothing copied.
// std::mdspan (C++23), Kokkos' and CUDA's (cuda::std::mdspan) alike: this header includes none of them.
//
// The first dimension counts the samples, all others together are a sample's elements: an mdspan of extents
// (B, C, H, W) is a batch of B rows and C * H * W columns, one of extents (B) is B samples of one element. The
// elements of a sample must be packed in row-major order; samples may lie further apart. So layout_right
// always fits, layout_stride where its strides say so, and layout_left hardly ever.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/interop/detail/packed_rows.hpp"

namespace tempflow {
namespace detail {

/// Whether an accessor is a pointer's: element i of p is p[i].
template <class Accessor>
constexpr bool accesses_as_pointer() {
  std::remove_const_t<typename Accessor::element_type> pair[2] = {};
  const Accessor accessor{};
  return &accessor.access(pair, 1) == pair + 1 && accessor.offset(pair, 1) == pair + 1;
}

template <class Accessor, class T>
concept pointer_accessor =
    std::is_empty_v<Accessor> && std::same_as<typename Accessor::data_handle_type, T*> &&
    std::same_as<typename Accessor::reference, T&> && requires {
  typename std::enable_if<accesses_as_pointer<Accessor>()>::type;
};

/// An mdspan of one dimension at least over elements in memory, with the accessor that it has by default.
template <class M>
concept mdspan_memory = requires(const M& span, typename M::rank_type r) {
  requires storage_scalar<std::remove_const_t<typename M::element_type>>;
  requires pointer_accessor<typename M::accessor_type, typename M::element_type>;
  requires(M::rank() > 0);
  { M::static_extent(r) } -> std::same_as<std::size_t>;
  { span.extent(r) } -> std::same_as<typename M::index_type>;
  { span.mapping().stride(r) } -> std::same_as<typename M::index_type>;
  { span.is_strided() } -> std::convertible_to<bool>;
  { span.data_handle() } -> std::convertible_to<typename M::element_type*>;
};

/// Numbers of a dimension each, as index_t; -1 for what that cannot hold.
template <std::size_t Rank, class Get>
std::array<index_t, Rank> as_indices(const Get& get) {
  std::array<index_t, Rank> values;
  for (std::size_t r = 0; r < Rank; ++r) {
    const auto value = get(r);
    values[r] = std::in_range<index_t>(value) ? static_cast<index_t>(value) : -1;
  }
  return values;
}

/// The mapping of a layout onto rows `strides[0]` elements apart: layout_stride is told the strides, any
/// other layout has its own.
template <class Mapping, class Extents>
Mapping mapping_of(const Extents& extents, [[maybe_unused]] const std::vector<index_t>& strides) {
  if constexpr (requires(const Mapping& mapping) { Mapping(extents, mapping.strides()); }) {
    std::remove_cvref_t<decltype(std::declval<const Mapping&>().strides())> values{};  // its library's array
    for (std::size_t r = 0; r < strides.size(); ++r) {
      values[r] = static_cast<typename Mapping::index_type>(strides[r]);
    }
    return Mapping(extents, values);
  } else {
    return Mapping(extents);
  }
}

}  // namespace detail

/// The batch that an mdspan shows: extents (B, ...) give B rows, and as many columns as the other extents
/// multiply to.
///
/// An mdspan of const elements gives a batch for reading. Element types are float, double and the library's
/// 16-bit types. Memory of a device is not touched, and taken for what it is. Throws shape_error for samples
/// that are not packed in row-major order or that overlap, and for extents that are too large to address.
template <detail::mdspan_memory M>
batch_view<typename M::element_type> batch_view_of(const M& span) {
  using rank_type = typename M::rank_type;
  constexpr std::size_t rank = M::rank();
  const auto shape =
      detail::as_indices<rank>([&](std::size_t r) { return span.extent(static_cast<rank_type>(r)); });
  if (!span.is_strided()) {
    throw shape_error(detail::message("batch_view_of: the mdspan of extents ", detail::tuple_text(shape),
                                      " has no strides"));
  }
  const auto strides = detail::as_indices<rank>(
      [&](std::size_t r) { return span.mapping().stride(static_cast<rank_type>(r)); });
  const auto [rows, columns, row_stride] =
      detail::rows_of_tensor(shape, strides, sizeof(typename M::element_type), [&] {
        return detail::message("the mdspan of extents ", detail::tuple_text(shape), " and strides ",
                               detail::tuple_text(strides));
      });
  return {span.data_handle(), rows, columns, row_stride};
}

/// As above, for a batch of `rows` samples of `columns` elements each.
/// Throws shape_error as above, and when the mdspan has another shape: the message names both.
template <detail::mdspan_memory M>
batch_view<typename M::element_type> batch_view_of(const M& span, index_t rows, index_t columns) {
  const auto batch = batch_view_of(span);
  detail::check_rows(batch.rows(), batch.columns(), rows, columns, [&] {
    const auto shape = detail::as_indices<M::rank()>(
        [&](std::size_t r) { return span.extent(static_cast<typename M::rank_type>(r)); });
    return detail::message("the mdspan of extents ", detail::tuple_text(shape));
  });
  return batch;
}

/// A batch as an mdspan of a type of yours, of extents (B, extents...); of (B, D) if you name none:
///
///   using images = std::mdspan<const float, std::dextents<std::ptrdiff_t, 4>, std::layout_stride>;
///   const auto x = mdspan_of<images>(batch, 3, 64, 64);
///
/// With layout_stride, rows that are not packed keep their stride; other layouts take what has their strides.
/// Throws shape_error unless the extents multiply to the batch's columns, agree with static ones, and fit the
/// mdspan's index type, and its layout fits the batch.
template <detail::mdspan_memory M, class T, std::integral... Extents>
  requires(std::convertible_to<T (*)[], typename M::element_type (*)[]> &&
           (M::rank() == sizeof...(Extents) + 1 || (M::rank() == 2 && sizeof...(Extents) == 0)))
M mdspan_of(batch_view<T> batch, Extents... extents) {
  using index_type = typename M::index_type;
  using rank_type = typename M::rank_type;
  constexpr std::size_t rank = M::rank();
  std::vector<index_t> shape = {(std::in_range<index_t>(extents) ? static_cast<index_t>(extents) : -1)...};
  if (rank == 2 && shape.empty()) shape = {batch.columns()};
  const auto strides = detail::strides_of_rows("mdspan_of", shape, batch.columns(), batch.row_stride());
  shape.insert(shape.begin(), batch.rows());
  const auto refuse = [&](const auto&... why) {
    throw shape_error(detail::message("mdspan_of: a batch of shape ", detail::tuple_text(shape),
                                      " and strides ", detail::tuple_text(strides), why...));
  };
  for (std::size_t r = 0; r < rank; ++r) {
    const std::size_t fixed = M::static_extent(static_cast<rank_type>(r));
    if (fixed != (std::numeric_limits<std::size_t>::max)() && !std::cmp_equal(fixed, shape[r])) {
      refuse(": extent ", r, " of the mdspan is ", fixed);
    }
    if (!std::in_range<index_type>(shape[r])) refuse(": extent ", r, " does not fit the mdspan's index type");
  }
  // The largest number that the mdspan may have to compute with.
  const index_t size = detail::product_of(std::array{(std::max)(batch.rows(), index_t{1}), strides[0]},
                                          (std::numeric_limits<index_t>::max)());
  if (size < 0 || !std::in_range<index_type>(size)) refuse(": its size does not fit the mdspan's index type");
  const auto all = [&]<std::size_t... R>(std::index_sequence<R...>) {
    return typename M::extents_type(static_cast<index_type>(shape[R])...);
  }
  (std::make_index_sequence<rank>());
  const auto mapping = detail::mapping_of<typename M::mapping_type>(all, strides);
  for (std::size_t r = 0; r < rank && !batch.empty(); ++r) {
    const index_type stride = mapping.stride(static_cast<rank_type>(r));
    if (shape[r] > 1 && !std::cmp_equal(stride, strides[r])) {
      refuse(": stride ", r, " of the mdspan's layout is ", stride);
    }
  }
  return M(batch.data(), mapping);
}

}  // namespace tempflow
