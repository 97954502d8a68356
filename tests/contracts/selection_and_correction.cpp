// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What selections and corrections do to an update, on whole rollouts.

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "support/models.hpp"
#include "tempflow/advantage/best_and_worst.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/drift.hpp"
#include "tempflow/objective/rollout_correction.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/rescore.hpp"
#include "tempflow/rollout/roll_out.hpp"

using support::row_model;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::index_t;

namespace {

const tempflow::cpu_backend cpu{1};

/// The trainer's model: the sampler's, a little off, more so where sigma is small.
struct other_model {
  using value_type = float;
  row_model<float>& sampler;

  index_t dimension() const { return sampler.dimension(); }
  void velocity(batch_view<const float> x, std::span<const double> sigma, std::span<const index_t> prompt,
                batch_view<float> v) {
    sampler.velocity(x, sigma, prompt, v);
    for (index_t i = 0; i < v.rows(); ++i) {
      for (index_t e = 0; e < v.columns(); ++e)
        v.row(i)[e] += static_cast<float>(0.3 * (1 - sigma[static_cast<std::size_t>(i)]));
    }
  }
};

tempflow::trajectories<float> roll_out(row_model<float>& model) {
  return tempflow::roll_out(cpu, model, std::vector<index_t>{6, 1},
                            tempflow::make_chain(tempflow::sd3_sigmas(5), tempflow::flow_sde{0.7}),
                            tempflow::flow_plan{.samples_per_prompt = 6}, {.seed = 8});
}

}  // namespace

TEST_CASE("rescoring's drift, step by step, and its correction in the loss", "[correction]") {
  row_model<float> sampler(40);
  other_model trainer{sampler};
  auto rollout = roll_out(sampler);
  const auto rewards = support::numbers(1).take(rollout.samples().rows());
  const std::vector<double> weights{0.5, 1.25, 1, 1, 1};
  const auto advantages = tempflow::group_advantages(rewards, std::vector<std::int64_t>(rewards.size()));
  auto batches = minibatches(rollout, advantages, weights, {.size = 7});

  const std::vector<double> sampled(rollout.log_probs().begin(), rollout.log_probs().end());
  const auto reported = rescore(cpu, trainer, batches);
  std::vector<double> log_ratios;
  std::vector<index_t> steps;
  std::vector<std::int64_t> samples;
  for (index_t row = 0; row < rollout.rows(); ++row) {
    log_ratios.push_back(rollout.log_probs()[static_cast<std::size_t>(row)] -
                         sampled[static_cast<std::size_t>(row)]);
    steps.push_back(rollout.row(row).step);
    samples.push_back(rollout.row(row).sample);
  }
  const auto drift = tempflow::drift_by_step(log_ratios, steps, rollout.steps().steps());
  const auto all = tempflow::total_drift(drift);
  CHECK(all.rows == reported.rows);
  CHECK(all.max_abs == reported.max_abs);
  CHECK(all.mean_abs() == Approx(reported.mean_abs).epsilon(1e-13));
  CHECK(drift[0].max_abs == 0);  // sigma = 1
  CHECK(drift[3].mean_abs() > drift[1].mean_abs());
  CHECK(all.effective_share() < 1);

  for (const auto of : {tempflow::ratio_of::rows, tempflow::ratio_of::sequences_mean}) {
    const auto corrected = tempflow::corrected_weights(
        log_ratios, {.truncate = 1.001, .keep = tempflow::ratio_band{0.995, 1.02}, .ratios = of}, samples);
    CHECK((corrected.rejected > 0 && corrected.rejected < rollout.rows()));
    double loss = 0, expected = 0;
    for (auto batch : batches) {
      const auto mine = tempflow::weights_of_rows(batch.weights, corrected.weights, batch.rows);
      batch.weights = mine;
      batch_buffer<float> v(batch.x.rows(), batch.x.columns()), gradient(batch.x.rows(), batch.x.columns());
      trainer.velocity(batch.x, batch.sigma, batch.prompts, v.view());
      const auto statistics =
          tempflow::policy_loss(cpu, batch, v.view(), {}, tempflow::clipped_grpo{}, gradient);
      CHECK(statistics.max_abs_log_ratio == 0);
      loss += statistics.loss;
    }
    for (std::size_t row = 0; row < log_ratios.size(); ++row) {  // the mean counts rejected rows
      const auto& of_row = rollout.row(static_cast<index_t>(row));
      expected -= corrected.weights[row] * weights[static_cast<std::size_t>(of_row.step)] *
                  advantages.values[static_cast<std::size_t>(of_row.sample)] /
                  static_cast<double>(rollout.rows());
    }
    CHECK(loss == Approx(expected).epsilon(1e-12));
  }
}

TEST_CASE("the rows of the best and the worst alone are trained on", "[left_out]") {
  row_model<float> model(40);
  auto rollout = roll_out(model);
  auto rewards = support::numbers(1).take(rollout.samples().rows());
  rewards[2] = tempflow::not_a_number;
  std::vector<std::int64_t> prompts;
  for (const auto& identity : rollout.identities()) prompts.push_back(identity.prompt);
  const auto advantages =
      tempflow::group_advantages(rewards, prompts, {.not_finite = tempflow::not_finite_rewards::exclude});
  const auto selection = best_and_worst(advantages, prompts, 4);
  CHECK(selection.chosen.size() == 8);
  auto batches = minibatches(rollout, advantages, std::vector<double>(5, 1.0),
                             {.leave_out = {.advantages = selection.rest}});
  index_t rows = 0;
  for (const auto& batch : batches) {
    for (const index_t row : batch.rows) {
      CHECK(std::ranges::binary_search(selection.chosen, rollout.row(row).sample));
      ++rows;
    }
    CHECK(batch.mean_over == 8 * 4);
  }
  CHECK(rows == 8 * 4);
}
