// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: policy_loss needs an objective: a functor

#include <tempflow/backend/reference.hpp>
#include <tempflow/ops/policy_loss.hpp>

#ifdef BREAK
struct objective {};
#else
using objective = tempflow::clipped_grpo;
#endif

auto loss(const tempflow::policy_batch<float>& batch, tempflow::batch_view<float> v) {
  return tempflow::policy_loss(tempflow::reference_backend{}, batch, v, {}, objective{}, v);
}
