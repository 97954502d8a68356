// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The arithmetic of classifier-free guidance, written once for every backend: of an element, and of the norms of a
// token. Derivation: docs/maths.md. Value: a number, or a register of neighbours.

#include <cmath>

#include "tempflow/config.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow::detail {

/// m = u + w (c - u) of an element, what it adds to the sums of its token, and its derivatives.
template <class Real>
struct guidance_mix {
  Real scale, rest;  ///< w, 1 - w

  TEMPFLOW_HD explicit guidance_mix(double w) : scale(static_cast<Real>(w)), rest(static_cast<Real>(1 - w)) {}

  TEMPFLOW_HD_TEMPLATE
  template <class Value>
  TEMPFLOW_INLINE Value operator()(const Value& c, const Value& u) const {
    return fused_multiply_add(scale, c - u, u);
  }

  /// m^2 and c^2.
  TEMPFLOW_HD_TEMPLATE
  template <class Value>
  TEMPFLOW_INLINE void add_squares(const Value& c, const Value& u, Value (&sums)[2]) const {
    const Value m = (*this)(c, u);
    sums[0] = fused_multiply_add(m, m, sums[0]);
    sums[1] = fused_multiply_add(c, c, sums[1]);
  }

  /// m^2, c^2 and g m.
  TEMPFLOW_HD_TEMPLATE
  template <class Value>
  TEMPFLOW_INLINE void add_products(const Value& c, const Value& u, const Value& g, Value (&sums)[3]) const {
    const Value m = (*this)(c, u);
    sums[0] = fused_multiply_add(m, m, sums[0]);
    sums[1] = fused_multiply_add(c, c, sums[1]);
    sums[2] = fused_multiply_add(g, m, sums[2]);
  }
};

/// |c| / |m|, what a token is multiplied by; 0 where either is 0, m too then.
template <class Real>
TEMPFLOW_HD inline Real kept_norm(Real square_of_m, Real square_of_c) {
  return square_of_m == 0 ? Real{0} : std::sqrt(square_of_c) / std::sqrt(square_of_m);
}

/// The derivatives of v = m |c| / |m|. Where a norm is 0, it has none: they are 0 there.
template <class Real>
struct kept_norm_gradient {
  Real factor;   ///< |c| / |m|
  Real along_m;  ///< g m / |m|^2
  Real along_c;  ///< g m / (|m| |c|)

  TEMPFLOW_HD kept_norm_gradient(Real square_of_m, Real square_of_c, Real product)
      : factor(kept_norm(square_of_m, square_of_c)), along_m(0), along_c(0) {
    if (square_of_m == 0 || square_of_c == 0) return;
    const Real norm = std::sqrt(square_of_m), along = product / norm;
    along_m = along / norm;
    along_c = along / std::sqrt(square_of_c);
  }

  /// dL/dm, from g = dL/dv.
  TEMPFLOW_HD_TEMPLATE
  template <class Value>
  TEMPFLOW_INLINE Value of_mix(const Value& m, const Value& g) const {
    return factor * fused_multiply_add(-along_m, m, g);
  }

  /// dL/dc, from w dL/dm.
  TEMPFLOW_HD_TEMPLATE
  template <class Value>
  TEMPFLOW_INLINE Value of_conditional(const Value& c, const Value& of_mix) const {
    return fused_multiply_add(along_c, c, of_mix);
  }
};

}  // namespace tempflow::detail
