// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The arithmetic of an element, written once for every backend: what is added up for a log-prob, what is
// drawn, and dL/dv. Value: a number, or a register of neighbours.

#include "tempflow/config.hpp"
#include "tempflow/core/noise_source.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow::detail {

/// A transition's coefficients in the type a row is computed in.
template <class Real>
struct row_coefficients {
  Real alpha;
  Real beta;
  Real std;

  TEMPFLOW_HD explicit row_coefficients(const transition& step)
      : alpha(static_cast<Real>(step.alpha)),
        beta(static_cast<Real>(step.beta)),
        std(static_cast<Real>(step.std)) {}

  /// Those of a draw that may take minus its noise.
  TEMPFLOW_HD row_coefficients(const transition& step, const noise_draw& draw) : row_coefficients(step) {
    if (draw.negated) std = -std;
  }

  /// Those of minus the noise: (-std) z has the bits of std (-z).
  TEMPFLOW_HD row_coefficients opposite() const {
    row_coefficients other = *this;
    other.std = -std;
    return other;
  }

  /// alpha x + beta v.
  TEMPFLOW_HD_TEMPLATE
  template <class Value>
  TEMPFLOW_INLINE Value mean(const Value& x, const Value& v) const {
    return fused_multiply_add(beta, v, alpha * x);
  }

  /// alpha x + beta v + std z.
  TEMPFLOW_HD_TEMPLATE
  template <class Value>
  TEMPFLOW_INLINE Value draw(const Value& x, const Value& v, const Value& z) const {
    return fused_multiply_add(std, z, mean(x, v));
  }

  /// y - alpha x - beta v.
  TEMPFLOW_HD_TEMPLATE
  template <class Value>
  TEMPFLOW_INLINE Value residual(const Value& x, const Value& v, const Value& y) const {
    return fused_multiply_add(-beta, v, fused_multiply_add(-alpha, x, y));
  }
};

/// std z: the residual of a draw that was not rounded.
TEMPFLOW_HD_TEMPLATE
template <class Real, class Value>
TEMPFLOW_INLINE Value drawn_residual(Real std, const Value& z) {
  return std * z;
}

/// An element of dL/dv: slope r, and with a reference velocity slope r + reference_slope (v - v_ref). Where several
/// transitions leave a state, these are the first's slope r, and the terms of the others and of the reference are
/// added in order.
TEMPFLOW_HD_TEMPLATE
template <class Real, class Value>
TEMPFLOW_INLINE Value policy_gradient(Real slope, const Value& r) {
  return slope * r;
}
TEMPFLOW_HD_TEMPLATE
template <class Real, class Value>
TEMPFLOW_INLINE Value policy_gradient(Real slope, const Value& r, Real reference_slope,
                                      const Value& difference) {
  return fused_multiply_add(reference_slope, difference, slope * r);
}
TEMPFLOW_HD_TEMPLATE
template <class Real, class Value>
TEMPFLOW_INLINE Value policy_gradient_plus(const Value& gradient, Real slope, const Value& r) {
  return fused_multiply_add(slope, r, gradient);
}

}  // namespace tempflow::detail
