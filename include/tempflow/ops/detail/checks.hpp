// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Checks at the boundary of every operation: always on, before anything is written.

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/element_mask.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/noise_source.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/core/per_row.hpp"
#include "tempflow/ops/detail/operation_arguments.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow {

namespace detail {

template <class T>
void check_per_row(std::string_view operation, std::string_view name, const per_row<T>& values,
                   index_t rows) {
  if (!values.covers(rows)) {
    throw shape_error(message(operation, ": ", name, " has ", values.size(), " entries, expected ", rows,
                              " (or one for all rows)"));
  }
}

/// Coefficients must be finite in fp32 too; with `needs_density`, every step must draw noise that a density
/// can have. Values in a device's memory are not looked at.
template <class B>
void check_transitions(const operation_arguments<B>& arguments, std::string_view operation,
                       const per_row<transition>& steps, index_t rows, bool needs_density) {
  check_per_row(operation, "transitions", steps, rows);
  if (!arguments.host_reads(steps.data())) return;
  const auto fits = [](double value) { return is_finite(value) && is_finite(static_cast<float>(value)); };
  for (index_t i = 0; i < rows; ++i) {
    const transition& step = steps[i];
    if (!fits(step.alpha) || !fits(step.beta) || !fits(step.std) || step.std < 0) {
      throw schedule_error(message(operation, ": transition of row ", i, " has alpha = ", step.alpha,
                                   ", beta = ", step.beta, ", std = ", step.std));
    }
    if (needs_density && step.std < 1e-30) {
      throw schedule_error(message(operation, ": the transition of row ", i, " (sigma ", step.sigma, " to ",
                                   step.sigma_next, ") has std = ", step.std,
                                   ": a deterministic step has no log-prob"));
    }
  }
}

/// Transitions from a noise level to the data, as clean_transition makes them.
template <class B>
void check_clean_transitions(const operation_arguments<B>& arguments, std::string_view operation,
                             const per_row<transition>& steps, index_t rows) {
  if (!arguments.host_reads(steps.data())) return;
  for (index_t i = 0; i < rows; ++i) {
    const transition& step = steps[i];
    if (step.alpha != 1 || step.std != 0 || !(step.beta < 0)) {
      throw schedule_error(
          message(operation, ": the objective trains on finished samples, y = x0 with clean_transition(t); ",
                  "the transition of row ", i, " has alpha = ", step.alpha, ", beta = ", step.beta,
                  ", std = ", step.std));
    }
  }
}

template <class B>
void check_diffusions(const operation_arguments<B>& arguments, std::string_view operation,
                      const per_row<transition>& steps, index_t rows) {
  if (!arguments.host_reads(steps.data())) return;
  for (index_t i = 0; i < rows; ++i) {
    if (!(steps[i].diffusion > 0)) {
      throw schedule_error(message(operation, ": the KL over the diffusion needs it, the transition of row ",
                                   i, " has diffusion = ", steps[i].diffusion));
    }
  }
}

/// Elements that the generator's counter tells apart.
inline constexpr index_t noise_elements = index_t{1} << 34;

/// A row's noise has an identity of its own, and its elements fit the generator's counter.
inline void check_noise(std::string_view operation, const noise_source& noise, index_t rows,
                        index_t columns) {
  check_per_row(operation, "ids", noise.ids, rows);
  if (!noise.ids.varies() && rows > 1) {
    throw shape_error(message(operation, ": one noise id for ", rows,
                              " rows would give all of them the same noise; pass one per row"));
  }
  const index_t first = noise.first_element;
  if (first < 0 || first % 4 != 0) {
    throw value_error(message(operation, ": the noise begins at element ", first,
                              ", must be a multiple of 4 and not negative: it is drawn by fours"));
  }
  if (columns > noise_elements || first > noise_elements - columns) {
    throw shape_error(message(operation, ": ", columns, " elements per row from element ", first,
                              " of the noise on, which has at most 2^34"));
  }
}

/// The branches of each row have identities behind the row's own.
template <class B>
void check_branches(const operation_arguments<B>& arguments, std::string_view operation,
                    const per_row<noise_id>& ids, index_t rows, index_t explorations) {
  if (!arguments.host_reads(ids.data())) return;
  for (index_t i = 0; i < rows; ++i) {
    if (ids[i].branch + explorations > 65536) {
      throw shape_error(message(operation, ": ids[", i, "].branch = ", ids[i].branch, " leaves no room for ",
                                explorations, " explorations below 65536"));
    }
  }
}

/// False for {}: an argument that was left out.
template <class T>
bool is_given(const batch_view<T>& batch) {
  return batch.data() != nullptr || batch.rows() > 0 || batch.columns() > 0;
}

/// The mean over the elements of a sample needs elements.
inline void check_has_elements(std::string_view operation, index_t rows, index_t columns) {
  if (rows > 0 && columns == 0) throw shape_error(message(operation, ": ", rows, " rows of 0 elements"));
}

/// A mask has the elements of a state, for all states or for each, and leaves each some. One in a device's memory is
/// not looked at.
template <class B>
void check_mask(const operation_arguments<B>& arguments, std::string_view operation, const element_mask& mask,
                index_t states, index_t elements) {
  if (!mask.given()) return;
  if (mask.columns() != elements || (mask.rows() != 1 && mask.rows() != states)) {
    throw shape_error(message(operation, ": mask is ", mask.rows(), " x ", mask.columns(), ", expected ",
                              states, " x ", elements, " (or one row for all states)"));
  }
  arguments.check_kernels_read(operation, "mask", mask.data());
  if (!arguments.host_reads(mask.data())) return;
  for (index_t i = 0; i < mask.rows(); ++i) {
    if (!any_byte(mask.row(i), elements)) {
      throw value_error(
          message(operation, ": row ", i, " of the mask counts none of its ", elements, " elements"));
    }
  }
}

template <class B>
void check_finite(const operation_arguments<B>& arguments, std::string_view operation, std::string_view name,
                  const per_row<double>& values, index_t rows) {
  check_per_row(operation, name, values, rows);
  if (!arguments.host_reads(values.data())) return;
  for (index_t i = 0; i < rows; ++i) {
    if (!is_finite(values[i])) throw value_error(message(operation, ": ", name, "[", i, "] = ", values[i]));
  }
}

/// A negative weight would have the clip bound the other side.
template <class B>
void check_weights(const operation_arguments<B>& arguments, std::string_view operation,
                   const per_row<double>& weights, index_t rows) {
  check_finite(arguments, operation, "weights", weights, rows);
  if (!arguments.host_reads(weights.data())) return;
  for (index_t i = 0; i < rows; ++i) {
    if (weights[i] < 0) {
      throw value_error(message(operation, ": weights[", i, "] = ", weights[i], ", must not be negative"));
    }
  }
}

/// True when a row of one batch shares memory with a row of the other; rows of two slices may interleave.
template <class A, class B>
bool overlap(const batch_view<A>& a, const batch_view<B>& b) {
  if (a.empty() || b.empty()) return false;
  const auto row = [](const auto& batch, index_t i) { return reinterpret_cast<std::intptr_t>(batch.row(i)); };
  const auto length_a = static_cast<std::intptr_t>(sizeof(A)) * a.columns();
  const auto length_b = static_cast<std::intptr_t>(sizeof(B)) * b.columns();
  const std::intptr_t first_b = row(b, 0), last_b = row(b, b.rows() - 1);
  if (row(a, a.rows() - 1) + length_a <= first_b || last_b + length_b <= row(a, 0)) return false;
  const std::intptr_t stride_b = b.rows() > 1 ? row(b, 1) - first_b : length_b;
  for (index_t i = 0; i < a.rows(); ++i) {
    const std::intptr_t begin = row(a, i), beyond = begin - length_b - first_b;
    const std::intptr_t j =
        beyond < 0 ? 0 : beyond / stride_b + 1;  // first row of b that ends behind `begin`
    if (j < b.rows() && first_b + j * stride_b < begin + length_a) return true;
  }
  return false;
}

/// A result may replace an input element by element, or lie apart from it; in between, it would be read after
/// it was overwritten.
template <class A, class B>
void check_same_or_apart(std::string_view operation, std::string_view output_name,
                         const batch_view<A>& output, std::string_view input_name,
                         const batch_view<B>& input) {
  const bool same = static_cast<const void*>(output.data()) == static_cast<const void*>(input.data()) &&
                    std::is_same_v<std::remove_const_t<A>, std::remove_const_t<B>> &&
                    output.row_stride() == input.row_stride();
  if (!same && overlap(output, input)) {
    throw shape_error(message(operation, ": ", output_name, " shares memory with ", input_name,
                              " without being the same batch"));
  }
}

/// Sampling scores what it wrote against what it read: they must not share memory.
template <class T, class V>
void check_not_in_place(std::string_view operation, const batch_view<const T>& x,
                        const batch_view<const V>& v, const batch_view<T>& y) {
  if (overlap(y, x) || overlap(y, v)) {
    throw shape_error(
        message(operation, ": the next state must not be written over the state or the velocity"));
  }
}

}  // namespace detail
}  // namespace tempflow
