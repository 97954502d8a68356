// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Many models give a row slightly different bits in another batch (GEMM blocking, guidance, autocast). Then
// the training pass does not see the rollout's velocities, and the on-policy ratio is not 1. Rescoring
// replaces the old log-probs by those of the training batches themselves, and reports how far they had
// drifted.

#include <algorithm>
#include <cmath>
#include <vector>

#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/log_prob.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/velocity_model.hpp"

namespace tempflow {

/// Change of the old log-probs by rescoring.
struct rescore_drift {
  index_t rows = 0;
  double max_abs = 0;  ///< largest |new - old|; compare it with the clip range
  double mean_abs = 0;
};

/// One pass of the model over the batches, in their order and composition, that replaces the rollout's
/// log-probs. Afterwards, and before the first update, every log-ratio is exactly 0 for these batches.
///
/// mask: of the losses that follow, one row for all states; {}: the rollout's own (fixed_elements). Another mask than
/// the rollout's wants this pass.
///
/// Costs one model evaluation per state. Throws value_error, naming the row, for a log-prob that is not finite,
/// and for a rollout that stores no successors, which is on policy by definition; exceptions of the model pass
/// through. Batches before the failing one keep their new log-probs.
template <backend B, velocity_model M, class Buffer>
TEMPFLOW_HIDDEN rescore_drift rescore(const B& backend, M& model,
                                      minibatch_range<typename M::value_type, Buffer>& batches,
                                      element_mask mask = {}) {
  if (!batches.rollout().stores_successors()) {
    throw value_error("rescore: the rollout stores no successors to score");
  }
  rescore_drift drift;
  const auto old = batches.rollout().log_probs();
  buffer_of<B, velocity_of<M>> velocity;
  std::vector<double> fresh;
  for (const auto& batch : batches) {
    const index_t count = batch.x.rows();
    if (velocity.rows() < count) velocity = make_buffer<velocity_of<M>>(backend, count, batch.x.columns());
    const auto v = velocity.view().slice(0, count);
    fresh.resize(batch.rows.size());
    model.velocity(batch.x, batch.sigma, batch.prompts, v);
    policy_batch<typename M::value_type> scored = batch;
    if (mask.given()) scored.mask = mask;
    log_prob(backend, scored, v, fresh);
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      if (!is_finite(fresh[i])) {
        throw value_error(detail::message("rescore: log-prob of row ", batch.rows[i], " is ", fresh[i]));
      }
    }
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      double& kept = old[static_cast<std::size_t>(batch.rows[i])];
      const double change = std::abs(fresh[i] - kept);
      drift.max_abs = (std::max)(drift.max_abs, change);
      drift.mean_abs += change;
      kept = fresh[i];
    }
    drift.rows += static_cast<index_t>(fresh.size());
  }
  if (drift.rows > 0) drift.mean_abs /= static_cast<double>(drift.rows);
  return drift;
}

TEMPFLOW_NEEDS_BACKEND(rescore);

}  // namespace tempflow
