// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Arguments that several operators share.

#include <optional>
#include <span>
#include <type_traits>

#include "tables.hpp"
#include "tempflow/objective/gaussian.hpp"

namespace tempflow::python {

inline log_prob_convention convention_of(std::string_view operation, std::string_view reduction,
                                         std::string_view terms) {
  static constexpr std::pair<std::string_view, log_prob_reduction> reductions[] = {
      {"mean", log_prob_reduction::mean}, {"sum", log_prob_reduction::sum}};
  static constexpr std::pair<std::string_view, log_prob_terms> kept[] = {
      {"all", log_prob_terms::all},
      {"without_constants", log_prob_terms::without_constants},
      {"squared_error", log_prob_terms::squared_error}};
  return {choice(operation, "reduction", reduction, reductions), choice(operation, "terms", terms, kept)};
}

static_assert(sizeof(index_t) == sizeof(std::int64_t) && std::is_signed_v<index_t>);

/// int64 numbers as indices, which have the same layout.
inline std::span<const index_t> as_indices(std::span<const std::int64_t> values) {
  return {reinterpret_cast<const index_t*>(values.data()), values.size()};
}

/// Where the rows of each of S states begin and end, S + 1 numbers; or nothing, where each has one row.
class offset_table {
 public:
  offset_table(std::string_view operation, const std::optional<Tensor>& tensor) {
    if (!tensor) return;
    numbers_.emplace(operation, "offsets", *tensor);
    if (numbers_->values().empty()) {
      throw shape_error(detail::message(operation, ": offsets has 0 entries, expected one more than states"));
    }
  }

  operator std::span<const index_t>() const {
    return numbers_ ? as_indices(numbers_->values()) : std::span<const index_t>();
  }

 private:
  std::optional<table<std::int64_t>> numbers_;
};

}  // namespace tempflow::python
