// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "loss.hpp"

#include <type_traits>
#include <vector>

namespace fashion {

namespace tf = tempflow;

namespace {

/// Where a row depends on others: sums of all rows, what the objective makes of them, the gradient.
tf::policy_statistics loss_of_sequences(const tf::cpu_backend& cpu, tf::sequence_grpo loss,
                                        const tf::minibatch<float>& batch, const velocities& v,
                                        std::span<const std::int64_t> sequences,
                                        tf::batch_view<float> gradient) {
  loss.sequences = sequences;
  std::vector<tf::row_sums> sums(sequences.size());
  std::vector<tf::policy_row> rows(sums.size());
  std::vector<tf::row_factors> factors(sums.size());
  tf::policy_sums(cpu, batch, v.policy, v.reference, {}, sums);
  tf::policy_scores(batch, loss, sums, std::span(rows), std::span(factors));
  tf::policy_gradient(cpu, batch, v.policy, v.reference, {}, factors, gradient, rows);
  return tf::summarize(rows, loss.kl_beta, static_cast<double>(batch.mean_over));
}

}  // namespace

bool needs_old_velocity(const objective& loss) {
  return std::visit(
      [](const auto& of) {
        using kind = std::decay_t<decltype(of)>;
        if constexpr (tf::policy_objective<kind>) {
          return false;
        } else {
          return of.needs.old_velocity || of.needs.squared_error;
        }
      },
      loss);
}

tf::policy_statistics loss_of(const tf::cpu_backend& cpu, const objective& loss, tf::minibatch<float> batch,
                              const velocities& v, std::span<const std::int64_t> sequences,
                              tf::batch_view<float> gradient) {
  return std::visit(
      [&](const auto& of) {
        using kind = std::decay_t<decltype(of)>;
        if constexpr (tf::policy_objective<kind>) {
          return tf::policy_loss(cpu, batch, v.policy, v.reference, of, gradient);
        } else if constexpr (tf::batch_objective<kind>) {
          return loss_of_sequences(cpu, of, batch, v, sequences, gradient);
        } else {
          std::vector<double> old_log_probs;
          if (of.needs.squared_error) {  // at the same t and z: exactly the new ones on policy
            old_log_probs.resize(static_cast<std::size_t>(batch.y.rows()));
            tf::log_prob(cpu, batch, v.old, old_log_probs);
            batch.old_log_probs = old_log_probs;
          }
          return tf::policy_loss(cpu, batch, v.policy, v.reference, v.old, of, gradient);
        }
      },
      loss);
}

}  // namespace fashion
