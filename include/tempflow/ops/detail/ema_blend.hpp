// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// decay average + (1 - decay) weight: the arithmetic of ema_update on every backend.

#include "tempflow/config.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow::detail {

template <class Real>
struct ema_blend {
  Real kept, share;

  TEMPFLOW_HD explicit ema_blend(double decay)
      : kept(static_cast<Real>(decay)), share(static_cast<Real>(1 - decay)) {}

  TEMPFLOW_INLINE Real operator()(Real average, Real weight) const {
    return fused_multiply_add(kept, average, share * weight);
  }
};

}  // namespace tempflow::detail
