// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// TempFlow-GRPO's rollout as a wavefront. The published code finishes the branches of each step before it
// turns to the next, T (T + 1) / 2 model calls one after another. But every branch that stands at the same
// sigma can share a call: at step j that is the trunk and all branches born before j, so a rollout is about T
// large calls.

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/detail/rollout.hpp"
#include "tempflow/rollout/trajectories.hpp"
#include "tempflow/rollout/velocity_model.hpp"

namespace tempflow {
namespace detail {

/// The branches born at one step: a block of rows that move together.
struct branch_block {
  index_t step;                ///< where they were born
  index_t first;               ///< their first sample
  std::vector<index_t> knots;  ///< knots of the grid they visit, their first state's to T
  std::size_t position = 0;    ///< knot they stand at

  bool stands_at(index_t j) const { return position + 1 < knots.size() && knots[position] == j; }
};

template <backend B, velocity_model M>
class TEMPFLOW_HIDDEN wavefront {
 public:
  using T = typename M::value_type;
  using buffer = buffer_of<B, T>;

  wavefront(const B& backend, M& model, std::span<const index_t> prompts, const chain& steps,
            const branch_plan& plan, noise_key key)
      : backend_(backend),
        model_(model),
        plan_(plan),
        branching_(plan.steps_on(steps)),
        result_{.steps = steps, .key = key, .convention = plan.convention} {
    const index_t dimension = model.dimension();
    seeds_ = static_cast<index_t>(prompts.size()) * plan.seeds_per_prompt;
    block_rows_ = seeds_ * plan.explorations;
    const auto points = static_cast<index_t>(branching_.size());
    for (const index_t prompt : prompts) {
      for (index_t seed = 0; seed < plan.seeds_per_prompt; ++seed) {
        ids_.push_back(initial_noise(prompt, seed));
        prompt_of_.push_back(prompt);
      }
    }
    result_.states = make_buffer<T>(backend, points * (seeds_ + block_rows_), dimension);
    result_.samples = make_buffer<T>(backend, points * block_rows_, dimension);
    result_.log_probs.resize(static_cast<std::size_t>(points * block_rows_));
    log_probs_.emplace(backend, result_.log_probs);
    trunk_ = make_buffer<T>(backend, seeds_, dimension);
    const index_t largest_call = (std::ranges::max)(plan.rows_at(steps, seeds_));
    x_ = make_buffer<T>(backend, largest_call, dimension);
    v_ = make_buffer<T>(backend, largest_call, dimension);
    for (index_t b = 0; b < points; ++b) describe_block(b);
  }

  trajectories_of<B, M> run() && {
    fill_noise(backend_, {result_.key, ids_}, trunk_);
    const index_t steps = result_.steps.steps();
    const index_t trunk_steps = plan_.finish_trunk ? steps : branching_.back() + 1;
    for (index_t j = 0; j < steps; ++j) advance(j, j < trunk_steps);
    log_probs_->fetch();
    if (plan_.finish_trunk) result_.trunk_samples = std::move(trunk_);
    return trajectories_of<B, M>(std::move(result_));
  }

 private:
  /// Fills the tables of the b-th branching step: block b of the samples, rows and states.
  void describe_block(index_t b) {
    const index_t step = branching_[static_cast<std::size_t>(b)], first = b * block_rows_;
    blocks_.push_back(
        {.step = step, .first = first, .knots = plan_.completion_knots(step, result_.steps.steps())});
    for (index_t s = 0; s < seeds_; ++s) {
      for (index_t k = 0; k < plan_.explorations; ++k) {
        const index_t sample = first + s * plan_.explorations + k;
        result_.table.push_back({.x = trunk_state(b) + s,
                                 .y = branch_state(b) + s * plan_.explorations + k,
                                 .step = step,
                                 .sample = sample});
        const auto& id = ids_[static_cast<std::size_t>(s)];
        result_.identities.push_back({.prompt = id.prompt, .seed = id.seed, .step = step, .branch = k});
      }
    }
  }

  index_t trunk_state(index_t b) const { return b * seeds_; }
  index_t branch_state(index_t b) const {
    return static_cast<index_t>(branching_.size()) * seeds_ + b * block_rows_;
  }

  batch_view<T> samples_of(const branch_block& block) {
    return result_.samples.view().slice(block.first, block_rows_);
  }

  /// One call of the model for everything that stands at sigma_j, then one step of each.
  void advance(index_t j, bool with_trunk) {
    const index_t trunk_rows = with_trunk ? seeds_ : 0;
    index_t rows = trunk_rows;
    if (with_trunk) copy_rows(backend_, trunk_, x_.view().slice(0, seeds_));
    for (const auto& block : blocks_) {
      if (!block.stands_at(j)) continue;
      copy_rows(backend_, samples_of(block), x_.view().slice(rows, block_rows_));
      rows += block_rows_;
    }
    if (rows == 0) return;
    prompts_.clear();
    for (index_t i = 0; i < rows; ++i) {
      const index_t seed = i < trunk_rows ? i : (i - trunk_rows) % block_rows_ / plan_.explorations;
      prompts_.push_back(prompt_of_[static_cast<std::size_t>(seed)]);
    }
    sigmas_.assign(static_cast<std::size_t>(rows), result_.steps.sigmas()[static_cast<std::size_t>(j)]);
    evaluate(model_, x_.view().slice(0, rows), sigmas_, prompts_, v_.view().slice(0, rows), plan_.max_batch);

    index_t row = trunk_rows;
    for (auto& block : blocks_) {
      if (!block.stands_at(j)) continue;
      const auto step = result_.steps.ode_step(j, block.knots[++block.position]);
      ode_step(backend_, x_.view().slice(row, block_rows_), v_.view().slice(row, block_rows_), step,
               samples_of(block));
      row += block_rows_;
    }
    if (with_trunk) advance_trunk(j);
  }

  void advance_trunk(index_t j) {
    const auto x = x_.view().slice(0, seeds_), v = v_.view().slice(0, seeds_);
    const auto found = std::ranges::find(branching_, j);
    if (found == branching_.end()) {
      ode_step(backend_, x, v, result_.steps.ode_step(j), trunk_);
      return;
    }
    const index_t b = found - branching_.begin();
    auto ids = ids_;
    for (auto& id : ids) id.step = static_cast<std::uint16_t>(j);
    const auto born = result_.states.view().slice(branch_state(b), block_rows_);
    const auto& block = blocks_[static_cast<std::size_t>(b)];
    copy_rows(backend_, x, result_.states.view().slice(trunk_state(b), seeds_));
    branch_step(backend_, x, v, result_.steps.ode_step(j), result_.steps[j], {result_.key, ids}, trunk_, born,
                log_probs_->part(block.first, block_rows_), plan_.convention);
    copy_rows(backend_, born, samples_of(block));
  }

  const B& backend_;
  M& model_;
  const branch_plan& plan_;
  std::vector<index_t> branching_;
  trajectory_data<T, buffer> result_;
  index_t seeds_ = 0, block_rows_ = 0;
  std::vector<noise_id> ids_;
  std::vector<index_t> prompt_of_, prompts_;
  std::vector<double> sigmas_;
  std::vector<branch_block> blocks_;
  std::optional<log_prob_store<B>> log_probs_;
  buffer trunk_, x_, v_;
};

}  // namespace detail

/// Branches and finishes samples for each prompt, as `plan` says.
///
/// prompts: distinct ids in [0, 2^32); the model receives them and noise and groups are named by them.
/// Samples come in the order (branching step, prompt, seed, exploration); a row's sample has the row's own
/// index. Ask `plan.cost(chain, prompts.size())` what it takes first.
///
/// With a model whose rows do not depend on their batch, the result is the same bits for any max_batch and
/// thread count, and the same as branch after branch.
///
/// Throws value_error, schedule_error, shape_error or group_error for a plan, model or prompts that make no
/// sense, before the model is called; exceptions of the model pass through. Source: TempFlow-GRPO, arXiv
/// 2508.04324, section 3.2; the wavefront order is this library's.
template <backend B, velocity_model M>
TEMPFLOW_HIDDEN trajectories_of<B, M> branch_rollout(const B& backend, M& model,
                                                     std::span<const index_t> prompts, const chain& steps,
                                                     const branch_plan& plan, noise_key key) {
  plan.validate(steps);
  detail::check_prompts("branch_rollout", prompts);
  detail::check_dimension("branch_rollout", model.dimension());
  static_cast<void>(plan.cost(steps, static_cast<index_t>(prompts.size()), model.dimension(),
                              sizeof(typename M::value_type)));
  detail::check_chain_length("branch_rollout", steps.steps());
  return detail::wavefront<B, M>(backend, model, prompts, steps, plan, key).run();
}

}  // namespace tempflow
