// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: satisf[^<]*backend

#include <tempflow/backend/reference.hpp>
#include <tempflow/ops/step.hpp>

#ifdef BREAK
struct other {};
#else
using other = tempflow::reference_backend;
#endif

void advance(tempflow::batch_view<float> x, tempflow::batch_view<const float> v) {
  tempflow::ode_step(other{}, x, v, tempflow::transition{}, x);
}
