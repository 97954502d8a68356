// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Guided predictions and their gradient against the same written out in long double: what rounding allows, a token at a
// time.

#include <algorithm>
#include <cmath>
#include <vector>

#include "properties/bounds.hpp"
#include "properties/draw.hpp"
#include "properties/property.hpp"
#include "tempflow/ops/guidance.hpp"

namespace properties {

/// m = u + w (c - u), and what rounding may make of it.
template <class T>
bounded mixed(double c, double u, double w) {
  const double away = c - u, value = std::fma(w, away, u);
  const double sizes = std::abs(w * away) + std::abs(u) + std::abs(value);
  return {value, 4 * unit<T> * sizes + least<T> * (std::abs(away) + 2),
          (std::max)({std::abs(c) + std::abs(u), sizes})};
}

/// Predictions, what they are guided to, and the gradients of a loss with the gradient g.
template <class T>
struct guided_batch {
  index_t channels;            ///< of a token; 0: no norms
  std::vector<double> scales;  ///< of each row
  batch_buffer<T> c, u, g;
  batch_buffer<T> guided{c.rows(), c.columns()}, of_c = guided, of_u = guided;

  /// guide and guide_gradient on a backend.
  template <class B>
  void compute(const B& backend) {
    const tempflow::guidance_options options{.scale = scales, .channels = channels};
    tempflow::guide(backend, c, u, options, guided);
    tempflow::guide_gradient(backend, g, c, u, options, of_c, of_u);
  }

  /// Requires that they are what they should be.
  void check(const char* backend) const {
    const index_t rows = c.rows(), columns = c.columns();
    const index_t token = channels == 0 ? columns : channels;
    for (index_t i = 0; i < rows; ++i) {
      const double w = scales[at(i)];
      for (index_t first = 0; first < columns; first += token) {
        long double mm = 0, cc = 0, gm = 0, gg = 0, error_of_mm = 0, error_of_gm = 0;
        for (index_t e = first; e < first + token; ++e) {
          const double ce = value_of(c.view().row(i)[e]), ge = value_of(g.view().row(i)[e]);
          const bounded m = mixed<T>(ce, value_of(u.view().row(i)[e]), w);
          mm += static_cast<long double>(m.value) * m.value, cc += static_cast<long double>(ce) * ce;
          gm += static_cast<long double>(ge) * m.value, gg += static_cast<long double>(ge) * ge;
          error_of_mm += 2 * std::abs(m.value) * m.error + m.error * m.error,
              error_of_gm += std::abs(ge) * m.error;
        }
        // The relative errors of norms and of g m: of the elements, and of tiled sums.
        const double tiled = 50 * unit<T>;
        const long double of_m = mm > 0 ? error_of_mm / mm + tiled : 0, of_c_norm = tiled,
                          of_gm = error_of_gm + tiled * std::sqrt(gg * mm);
        if (channels != 0 &&
            (mm == 0 || of_m > 0.1L || mm < 1e-30L || cc < 1e-30L || mm > 1e36L || cc > 1e36L))
          continue;
        const long double factor = channels == 0 ? 1 : std::sqrt(cc / mm);
        const long double of_factor = channels == 0 ? 0 : of_m + of_c_norm + 4 * unit<T>;
        for (index_t e = first; e < first + token; ++e) {
          const double ce = value_of(c.view().row(i)[e]), ge = value_of(g.view().row(i)[e]);
          const bounded m = mixed<T>(ce, value_of(u.view().row(i)[e]), w);
          const auto expect = [&](const char* name, T found, long double value, long double error) {
            error += 4 * least<T>;
            const bounded of{static_cast<double>(value), static_cast<double>(error),
                             static_cast<double>(std::abs(value))};
            require(is_stored<T, T>(found, of), backend, ": ", name, " ", e, " of row ", i, " (", channels,
                    " channels, w = ", w, ") is ", value_of(found), ", expected ", of.value, " +- ",
                    of.error);
          };
          expect("guided element", guided.view().row(i)[e], factor * m.value,
                 factor * (m.error + std::abs(m.value) * of_factor));
          if (channels == 0) {
            expect("gradient of c", of_c.view().row(i)[e], static_cast<long double>(w) * ge,
                   3 * unit<T> * std::abs(w * ge));
            expect("gradient of u", of_u.view().row(i)[e], (1 - static_cast<long double>(w)) * ge,
                   3 * unit<T> * std::abs(ge) * (1 + std::abs(w)));
            continue;
          }
          // g_m = f (g - m (g m) / m^2), dL/dc = w g_m + c (g m) / (|m| |c|).
          const long double along = gm / mm, of_along = of_gm / mm + std::abs(along) * (of_m + 4 * unit<T>);
          const long double inner = ge - along * m.value,
                            of_inner = std::abs(m.value) * of_along + std::abs(along) * m.error +
                                       4 * unit<T> * (std::abs(ge) + std::abs(along * m.value));
          const long double mix = factor * inner, of_mix = factor * of_inner + std::abs(mix) * of_factor;
          const long double c_part = ce * gm / std::sqrt(mm * cc),
                            of_part = std::abs(ce) * of_gm / std::sqrt(mm * cc) +
                                      std::abs(c_part) * (of_m + of_c_norm + 6 * unit<T>);
          expect("gradient of c", of_c.view().row(i)[e], w * mix + c_part,
                 std::abs(w) * of_mix + of_part + 4 * unit<T> * (std::abs(w * mix) + std::abs(c_part)));
          expect("gradient of u", of_u.view().row(i)[e], (1 - w) * mix,
                 (1 + std::abs(w)) * (of_mix + 4 * unit<T> * std::abs(mix)));
        }
      }
    }
  }
};

}  // namespace properties
