// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// Small rollouts, and what their minibatches hold.

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "support/models.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/schedule/chain.hpp"
#include "tempflow/schedule/dynamics.hpp"
#include "tempflow/schedule/sigmas.hpp"

namespace support {

using tempflow::trajectories;
using list = std::vector<index_t>;

inline const tempflow::cpu_backend cpu{1};

template <class Plan>
trajectories<float> roll_out(row_model<float>& model, index_t steps, const Plan& plan,
                             const list& prompts = {6, 1}) {
  return tempflow::roll_out(cpu, model, prompts,
                            tempflow::make_chain(tempflow::sd3_sigmas(steps), tempflow::flow_sde{0.7}), plan,
                            {.seed = 8});
}

/// Rows of all batches, ascending.
template <class Range>
list rows_of(Range&& batches) {
  list rows;
  for (const auto& batch : batches) rows.insert(rows.end(), batch.rows.begin(), batch.rows.end());
  std::ranges::sort(rows);
  return rows;
}

/// Loss and gradient of a batch, with a KL to a reference that stands still.
inline double loss_of(row_model<float>& model, const tempflow::minibatch<float>& batch,
                      std::vector<std::vector<float>>* gradient_of_states = nullptr) {
  batch_buffer<float> v(batch.x.rows(), batch.x.columns()), zero(batch.x.rows(), batch.x.columns()),
      gradient(batch.x.rows(), batch.x.columns());
  model.velocity(batch.x, batch.sigma, batch.prompts, v.view());
  const auto total =
      tempflow::policy_loss(cpu, batch, v.view(), zero, tempflow::clipped_grpo{.kl_beta = 0.5}, gradient);
  CHECK(total.max_abs_log_ratio == 0);
  CHECK(total.non_finite_rows == 0);
  for (std::size_t s = 0; s < batch.states.size() && gradient_of_states != nullptr; ++s) {
    const float* const row = gradient.view().row(static_cast<index_t>(s));
    (*gradient_of_states)[static_cast<std::size_t>(batch.states[s])].assign(row, row + batch.x.columns());
  }
  return total.loss;
}

}  // namespace support
