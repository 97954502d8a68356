// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A rollout as a wavefront. The published code of TempFlow-GRPO finishes the branches of each step before it
// turns to the next, T (T + 1) / 2 model calls one after another. But all states at the same sigma can share
// a call, whatever their history: so any forest is about T large calls.

#include <concepts>
#include <span>

#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/rollout/detail/rollout.hpp"
#include "tempflow/rollout/detail/wavefront.hpp"
#include "tempflow/rollout/fixed_elements.hpp"
#include "tempflow/rollout/forest.hpp"
#include "tempflow/rollout/rollout_cost.hpp"
#include "tempflow/rollout/trajectories.hpp"
#include "tempflow/rollout/velocity_model.hpp"

namespace tempflow {

/// What makes a forest of a chain: branch_plan, flow_plan, tree_plan, or your own.
template <class P>
concept rollout_plan = requires(const P& plan, const chain& steps) {
  { plan.on(steps) } -> std::same_as<forest>;
};

/// Rolls out a forest for each prompt.
///
/// prompts: distinct ids in [0, 2^32), which identify noise and groups. Samples and rows come in the order
/// (node of the forest, prompt, seed, branch); for branch_plan that is (step, prompt, seed, branch), for
/// flow_plan (prompt, seed) and (step, prompt, seed). Results do not depend on max_batch or the thread count
/// with a model whose rows do not depend on their batch.
///
/// fixed: elements that a condition gives to each state; with {} none. Draws of the others are what they are without
/// it, log-probs are of these alone, and minibatches have the mask. Takes a call's states as memory besides.
///
/// Throws value_error, schedule_error, shape_error or group_error for a plan, model or prompts that make no
/// sense, shape_error for fixed elements that do not fit, value_error for them under a plan that draws again
/// (forest::redraw), and value_error for a rollout larger than max_bytes, before the model is called; exceptions of the
/// model pass through. Throws value_error, naming the step, prompt, seed and branch of the first, for velocities that
/// are not finite (`check_velocities`): on a host after the model's call, with the element, on a device once all calls
/// are made.
template <backend B, velocity_model M>
trajectories_of<B, M> roll_out(const B& backend, M& model, std::span<const index_t> prompts,
                               const forest& plan, noise_key key,
                               const fixed_elements<typename M::value_type>& fixed = {}) {
  detail::check_prompts(prompts);
  detail::check_dimension(model.dimension());
  detail::check_fixed(fixed.mask, fixed.values, static_cast<index_t>(prompts.size()), model.dimension(),
                      plan.redraw);
  using T = typename M::value_type;
  using V = velocity_of<M>;
  const rollout_cost cost = cost_of(plan, static_cast<index_t>(prompts.size()), model.dimension(), sizeof(T),
                                    std::same_as<T, V> ? 0 : sizeof(V), fixed.mask.given());
  if (plan.max_bytes > 0 && cost.bytes + cost.working_bytes > plan.max_bytes) {
    throw value_error(detail::message("roll_out: takes ", cost.bytes + cost.working_bytes, " bytes, ",
                                      cost.bytes, " of them to keep; max_bytes = ", plan.max_bytes));
  }
  return detail::wavefront<B, M>(backend, model, prompts, plan, key, fixed).run();
}

/// As above, for a plan on a chain:
/// `roll_out(cpu, model, prompts, chain, branch_plan{.explorations = 6}, {.seed = 42, .update = n})`.
template <backend B, velocity_model M, rollout_plan Plan>
trajectories_of<B, M> roll_out(const B& backend, M& model, std::span<const index_t> prompts,
                               const chain& steps, const Plan& plan, noise_key key,
                               const fixed_elements<typename M::value_type>& fixed = {}) {
  return roll_out(backend, model, prompts, plan.on(steps), key, fixed);
}

TEMPFLOW_NEEDS_BACKEND(roll_out);

}  // namespace tempflow
