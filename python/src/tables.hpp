// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tables, tensors of numbers: transitions, identities of draws, whatever there is a number per row of.

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tempflow/core/noise.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/schedule/transition.hpp"
#include "tensors.hpp"

namespace tempflow::python {

/// Where the numbers of a table may lie.
enum class table_memory { host, any };

/// A table: a tensor of R numbers, or R x columns of them. On the host it is copied, so that a device may read it later; on a
/// device it stays there.
template <class T>
class table {
 public:
  table(std::string_view operation, std::string_view name, const Tensor& tensor, index_t columns = 1,
        table_memory memory = table_memory::host)
      : on_device_(tensor) {
    check_type(operation, name, tensor, scalar_type_of<T>());
    if (columns == 1 ? tensor.dim() != 1 : tensor.dim() != 2 || tensor.size(1) != columns) {
      throw shape_error(detail::message(operation, ": ", name, " has shape ", shape_of(tensor),
                                        ", expected (rows",
                                        columns == 1 ? "" : detail::message(", ", columns), ")"));
    }
    if (!tensor.is_cpu() && (memory == table_memory::host || !tensor.is_cuda())) {
      throw memory_error(detail::message(operation, ": ", name, " lies on a device, expected on the CPU"));
    }
    if (!tensor.is_contiguous()) on_device_ = torch::stable::contiguous(tensor);
    const auto* const first = static_cast<const T*>(on_device_.const_data_ptr());
    values_ = {first, static_cast<std::size_t>(tensor.numel())};
    if (!tensor.is_cpu()) return;
    copy_.assign(first, first + values_.size());
    values_ = copy_;
  }

  table(const table&) = delete;
  table& operator=(const table&) = delete;

  bool on_host() const { return on_device_.is_cpu(); }
  std::span<const T> values() const { return values_; }
  operator std::span<const T>() const { return values_; }

 private:
  Tensor on_device_;
  std::vector<T> copy_;
  std::span<const T> values_;
};

/// Transitions: (7) on the host for all rows, or (R, 7). Rows are those of the class transition.
class transition_table {
 public:
  transition_table(std::string_view operation, std::string_view name, const Tensor& tensor)
      : numbers_(operation, name, tensor, tensor.dim() == 1 ? 1 : columns,
                 tensor.dim() == 1 ? table_memory::host : table_memory::any),
        same_(tensor.dim() == 1) {
    if (same_ && numbers_.values().size() != columns) {
      throw shape_error(detail::message(operation, ": ", name, " has shape ", shape_of(tensor),
                                        ", expected (7) or (rows, 7)"));
    }
  }

  std::span<const transition> rows() const {
    return {reinterpret_cast<const transition*>(numbers_.values().data()),
            numbers_.values().size() / columns};
  }
  operator per_row<transition>() const {
    return same_ ? per_row<transition>(rows()[0]) : per_row<transition>(rows());
  }

 private:
  static constexpr std::size_t columns = sizeof(transition) / sizeof(double);
  table<double> numbers_;
  bool same_;
};

/// Identities of draws: (R, 4) of prompt, seed, step, branch.
inline std::vector<noise_id> noise_ids(std::string_view operation, const Tensor& tensor) {
  const table<std::int64_t> numbers(operation, "ids", tensor, 4);
  std::vector<noise_id> ids;
  for (std::size_t at = 0; at < numbers.values().size(); at += 4) {
    const auto field = [&](std::size_t i, std::int64_t limit, const char* name) {
      const std::int64_t value = numbers.values()[at + i];
      if (value < 0 || value >= limit) {
        throw value_error(detail::message(operation, ": ids[", at / 4, "] has ", name, " ", value,
                                          ", must lie in [0, ", limit, ")"));
      }
      return value;
    };
    constexpr std::int64_t words = std::int64_t{1} << 32, halves = 65536;
    ids.push_back({.prompt = static_cast<std::uint32_t>(field(0, words, "prompt")),
                   .seed = static_cast<std::uint32_t>(field(1, words, "seed")),
                   .step = static_cast<std::uint16_t>(field(2, halves, "step")),
                   .branch = static_cast<std::uint16_t>(field(3, halves, "branch"))});
  }
  return ids;
}

inline noise_key key_of(std::string_view operation, std::int64_t seed, std::int64_t update) {
  constexpr std::int64_t limit = std::int64_t{1} << 32;
  if (seed < 0 || seed >= limit || update < 0 || update >= limit) {
    throw value_error(
        detail::message(operation, ": key (", seed, ", ", update, "), both must lie in [0, 2^32)"));
  }
  return {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(update)};
}

/// A tensor of numbers on the host.
template <class T>
Tensor table_of(const std::vector<T>& values, index_t columns = 0) {
  const auto count = static_cast<std::int64_t>(values.size());
  const std::vector<std::int64_t> shape =
      columns == 0 ? std::vector<std::int64_t>{count} : std::vector<std::int64_t>{count / columns, columns};
  const Tensor result = torch::stable::empty(shape, scalar_type_of<T>());
  std::copy(values.begin(), values.end(), static_cast<T*>(result.mutable_data_ptr()));
  return result;
}

}  // namespace tempflow::python
