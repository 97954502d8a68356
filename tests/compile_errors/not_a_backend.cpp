// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: step needs a backend as its first argument, such as cpu_backend: a copyable type with

#include <tempflow/backend/reference.hpp>
#include <tempflow/ops/step.hpp>

#ifdef BREAK
struct other {};
#else
using other = tempflow::reference_backend;
#endif

void advance(tempflow::batch_view<float> x, tempflow::batch_view<const float> v,
             const tempflow::per_row<tempflow::noise_id>& ids, std::span<double> log_probs) {
  tempflow::step(other{}, x, v, tempflow::transition{}, {tempflow::noise_key{}, ids}, x, log_probs);
}
