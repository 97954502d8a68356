// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The sums of rows, and the gradient of given factors, against exact ones: what rounding allows, an element at a time.

#include <algorithm>
#include <cmath>
#include <span>

#include "properties/bounds.hpp"
#include "properties/problem.hpp"
#include "properties/property.hpp"
#include "tempflow/objective/policy_statistics.hpp"
#include "tempflow/objective/row_sums.hpp"

namespace properties {

using tempflow::policy_row;
using tempflow::row_factors;
using tempflow::row_sums;

/// The residual and the differences of an element of a row.
struct element {
  bounded residual, reference, old;
};
template <class T, class V>
element element_of(const problem<T, V>& of, index_t row, index_t e) {
  const index_t s = of.state_of(row);
  const double v = value_of(of.v.view().row(s)[e]);
  return {residual<T>(of.steps[at(s)], value_of(of.x.view().row(s)[e]), v, value_of(of.y.view().row(row)[e])),
          difference<T>(v, value_of(of.v_ref.view().row(s)[e])),
          difference<T>(v, value_of(of.v_old.view().row(s)[e]))};
}

/// Sums against exact ones, within what their roundings allow.
template <class T, class V>
void check_sums(const char* backend, const problem<T, V>& of, std::span<const row_sums> sums,
                double mixture) {
  for (index_t i = 0; i < of.rows(); ++i) {
    const index_t s = of.state_of(i);
    const row_sums& found = sums[at(i)];
    product_sum<T> residual, reference, residual_reference, old, residual_old, positive, negative;
    index_t counted = 0;
    const double beta = of.steps[at(s)].beta;
    for (index_t e = 0; e < of.columns; ++e) {
      if (!of.counts_element(s, e)) continue;
      const auto [r, to_reference, to_old] = element_of(of, i, e);
      ++counted;
      residual.add(r, r);
      reference.add(to_reference, to_reference), residual_reference.add(r, to_reference);
      old.add(to_old, to_old), residual_old.add(r, to_old);
      const bounded one{1, 0, 1};
      const auto along = [&, r = r, to_old = to_old](double distance) {
        const double part = beta * distance * to_old.value, size = std::abs(r.value + part);
        return bounded{
            size, r.error + 5 * unit<T> * (std::abs(part) + size) + least<T> * (std::abs(to_old.value) + 2),
            (std::max)({r.largest, std::abs(part), std::abs(beta * distance)})};
      };
      positive.add(along(1 - mixture), one), negative.add(along(1 + mixture), one);
    }
    const auto check = [&](const char* name, const auto& sum, double value) {
      require(sum.is(value), backend, ": ", name, " of row ", i, " (", of.columns, " elements) is ", value,
              ", expected ", sum.value(), " +- ", sum.error());
    };
    require(found.elements == static_cast<double>(counted), backend, ": row ", i, " has ", found.elements,
            " elements, not ", counted);
    check("the sum of r^2", residual, found.residual);
    check("the sum of (v - v_ref)^2", reference, found.reference);
    check("the sum of r (v - v_ref)", residual_reference, found.residual_reference);
    check("the sum of (v - v_old)^2", old, found.old);
    check("the sum of r (v - v_old)", residual_old, found.residual_old);
    if (mixture == 0) continue;
    check("the positive sum", positive, found.positive);
    check("the negative sum", negative, found.negative);
  }
}

/// A gradient against the exact one of the factors. marks: finite = 0 for rows whose state overflowed in fp16.
template <class T, class V, class G>
void check_gradient(const char* backend, const problem<T, V>& of, std::span<const row_factors> factors,
                    batch_view<const G> gradient, std::span<const policy_row> marks) {
  for (index_t s = 0; s < of.states; ++s) {
    const index_t first = of.offsets[at(s)], last = of.offsets[at(s) + 1];
    double to_reference = 0, to_old = 0;
    bool kept = true;
    for (index_t i = first; i < last; ++i) {
      to_reference += factors[at(i)].reference, to_old += factors[at(i)].old;
      kept = kept && (marks.empty() || marks[at(i)].finite != 0);
    }
    bool overflows = false;
    for (index_t e = 0; e < of.columns; ++e) {
      const G found = gradient.row(s)[e];
      if (!of.counts_element(s, e)) {
        require(value_of(found) == 0, backend, ": left-out element ", e, " of state ", s, " has a gradient");
        continue;
      }
      bounded sum;
      double sizes = 0;
      const auto add = [&](double factor, const bounded& term) {
        if (factor == 0) return;
        const double part = factor * term.value;
        sum.value += part, sizes += std::abs(part);
        sum.error += std::abs(factor) * term.error + least<T> * (std::abs(term.value) + 1);
        sum.largest = (std::max)({sum.largest, std::abs(part), std::abs(factor), term.largest});
      };
      for (index_t i = first; i < last; ++i) add(factors[at(i)].residual, element_of(of, i, e).residual);
      if (last > first) {
        const element any = element_of(of, first, e);
        add(to_reference, any.reference), add(to_old, any.old);
      }
      sum.error += 2 * static_cast<double>(last - first + 5) * unit<T> * (sizes + sum.error);
      sum.largest = (std::max)(sum.largest, sizes);
      overflows = overflows || sum.largest >= overflowing<T> ||
                  std::abs(sum.value) + sum.error >= largest_stored<G>() * (1 - 0x1p-9);
      if (!kept) {
        require(value_of(found) == 0, backend, ": state ", s, " was left out, and element ", e, " is ",
                value_of(found));
        continue;
      }
      require(is_stored<G, T>(found, sum), backend, ": element ", e, " of the gradient of state ", s, " is ",
              value_of(found), ", expected ", sum.value, " +- ", sum.error);
    }
    require(kept || overflows, backend, ": state ", s, " was left out, and nothing overflows");
  }
}

}  // namespace properties
