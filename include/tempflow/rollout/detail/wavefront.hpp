// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The engine of roll_out: all states at a knot go through the model in one call, and then leave it.

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/copy_rows.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/rollout/detail/forest_layout.hpp"
#include "tempflow/rollout/detail/rollout.hpp"
#include "tempflow/rollout/detail/rollout_tables.hpp"
#include "tempflow/rollout/trajectories.hpp"
#include "tempflow/schedule/multistep.hpp"

namespace tempflow::detail {

template <backend B, velocity_model M>
class TEMPFLOW_HIDDEN wavefront {
 public:
  using T = typename M::value_type;
  using buffer = buffer_of<B, T>;

  wavefront(const B& backend, M& model, std::span<const index_t> prompts, const forest& plan, noise_key key)
      : backend_(backend),
        model_(model),
        prompts_(prompts),
        plan_(plan),
        layout_(plan),
        result_{.steps = plan.steps(),
                .key = key,
                .convention = plan.convention,
                .antithetic = plan.antithetic,
                .redraw = plan.redraw} {
    const auto rows = [&](index_t per_prompt) { return per_prompt * static_cast<index_t>(prompts.size()); };
    const auto batch = [&](index_t per_prompt) {
      return make_buffer<T>(backend, rows(per_prompt), model.dimension());
    };
    result_.states = batch(layout_.rows(rollout_memory::states));
    result_.samples = batch(layout_.rows(rollout_memory::samples));
    result_.trunk_samples = batch(layout_.rows(rollout_memory::trunk_samples));
    scratch_ = batch(layout_.rows(rollout_memory::scratch));
    history_ = batch(layout_.rows(rollout_memory::history));
    gathered_ = batch(layout_.gathered);
    velocity_ = batch(layout_.largest_call);
    log_probs_ = make_buffer<double>(backend, 1, rows(layout_.draws));
  }

  trajectories_of<B, M> run() && {
    for (index_t node = 0; node < static_cast<index_t>(plan_.nodes().size()); ++node) {
      if (plan_.node(node).move != forest_move::start) continue;
      const auto ids = ids_of(node, initial_noise_step, 1, 0);
      fill_noise(backend_, noise_source(result_.key, ids), batch_of(node));
    }
    for (index_t knot = 0; knot < plan_.steps().steps(); ++knot) advance(knot);
    std::vector<double> drawn(static_cast<std::size_t>(log_probs_.columns()));
    copy_to_host(backend_, log_probs_.view(), batch_view<double>(drawn.data(), 1, log_probs_.columns()));
    forest_tables(plan_, layout_, prompts_).fill(drawn, result_);
    return trajectories_of<B, M>(std::move(result_));
  }

 private:
  index_t states_of(index_t node) const {
    return plan_.node(node).states * static_cast<index_t>(prompts_.size());
  }

  batch_view<T> batch_of(rollout_place place, index_t node) {
    buffer* const memory[] = {&result_.states, &result_.samples, &result_.trunk_samples, &scratch_,
                              &history_};
    return memory[static_cast<std::size_t>(place.memory)]->view().slice(
        place.first * static_cast<index_t>(prompts_.size()), states_of(node));
  }
  batch_view<T> batch_of(index_t node) { return batch_of(layout_.place(node), node); }

  /// Identities of the draws that leave the states of a node: of the first child of each.
  std::vector<noise_id> ids_of(index_t node, index_t step, index_t children, index_t first_branch) const {
    std::vector<noise_id> ids;
    for_each_state(plan_.node(node), prompts_, [&](index_t prompt, index_t seed, index_t i) {
      ids.push_back({.prompt = static_cast<std::uint32_t>(prompt),
                     .seed = static_cast<std::uint32_t>(seed),
                     .step = static_cast<std::uint16_t>(step),
                     .branch = static_cast<std::uint16_t>(first_branch + i * children)});
    });
    return ids;
  }

  /// One call of the model for all states at a knot, then each node's moves.
  void advance(index_t knot) {
    const auto& leaving = layout_.leaving(knot);
    if (leaving.empty()) return;
    const index_t rows = layout_.states_at(knot) * static_cast<index_t>(prompts_.size());
    const batch_view<T> x = leaving.size() == 1 ? batch_of(leaving[0]) : gathered_.view().slice(0, rows);
    const batch_view<T> v = velocity_.view().slice(0, rows);
    of_rows_.clear();
    for (const index_t node : leaving) {
      const auto first = static_cast<index_t>(of_rows_.size());
      if (leaving.size() > 1) copy_rows(backend_, batch_of(node), x.slice(first, states_of(node)));
      for_each_state(plan_.node(node), prompts_,
                     [&](index_t prompt, index_t, index_t) { of_rows_.push_back(prompt); });
    }
    sigmas_.assign(static_cast<std::size_t>(rows), plan_.steps().sigmas()[static_cast<std::size_t>(knot)]);
    evaluate(model_, x, sigmas_, of_rows_, v, plan_.max_batch);
    index_t first = 0;
    for (const index_t node : leaving) {
      leave(node, x.slice(first, states_of(node)), v.slice(first, states_of(node)));
      first += states_of(node);
    }
  }

  /// The successors of a node's states. The first draw and the first step of the ODE share a pass over x.
  void leave(index_t node, batch_view<T> x, batch_view<T> v) {
    const auto& successors = layout_.successors(node);
    const auto first = [&](const auto& is) {
      const auto found = std::ranges::find_if(successors, is);
      return found == successors.end() ? index_t{-1} : *found;
    };
    const index_t draw = first([&](index_t s) { return layout_.scored(s); });
    const index_t ode = first([&](index_t s) {
      return plan_.node(s).move == forest_move::ode && plan_.node(s).solver == ode_solver::one_step;
    });
    if (draw >= 0) draw_states(draw, ode, x, v);
    bool later = false;
    for (const index_t next : successors) {
      if (next == draw || (next == ode && draw >= 0)) continue;
      if (plan_.node(next).move == forest_move::draw) {
        draw_states(next, -1, x, v);
      } else if (looks_back(next)) {
        later = true;
      } else {
        if (layout_.history(next).first >= 0)
          ode_step(backend_, x, v, prediction_at(node), batch_of(layout_.history(next), next));
        ode_step(backend_, x, v, ode_transition(next), batch_of(next));
      }
    }
    if (later) second_order_steps(node, x, v);
    for (const index_t next : successors) {
      const rollout_place sample = layout_.sample(next);
      if (plan_.node(next).finished && layout_.kept(next))
        copy_rows(backend_, batch_of(next), batch_of(sample, next));
    }
  }

  /// Draws a node's states, and takes the step of the ODE to another (-1: none).
  void draw_states(index_t next, index_t trunk, batch_view<T> x, batch_view<T> v) {
    const forest_node& node = plan_.node(next);
    const index_t step_at = node.knot - 1;
    const transition& step_of = plan_.steps()[step_at];
    const auto ids = ids_of(node.parent, step_at, node.children, node.first_branch);
    const noise_source noise(result_.key, ids, plan_.antithetic);
    const auto count = static_cast<index_t>(prompts_.size());
    const std::span<double> log_probs(log_probs_.view().data() + layout_.first_draw(next) * count,
                                      layout_.scored(next) ? static_cast<std::size_t>(states_of(next)) : 0);
    if (trunk < 0 && node.children == 1) {
      step(backend_, x, v, step_of, noise, batch_of(next), log_probs, plan_.convention);
    } else if (trunk < 0) {
      branch_step(backend_, x, v, step_of, step_of, noise, {}, batch_of(next), log_probs, plan_.convention);
    } else {
      branch_step(backend_, x, v, ode_transition(trunk), step_of, noise, batch_of(trunk), batch_of(next),
                  log_probs, plan_.convention);
    }
  }

  double sigma_of(index_t node) const {
    return plan_.steps().sigmas()[static_cast<std::size_t>(plan_.node(node).knot)];
  }

  /// The data prediction m = x - sigma v.
  transition prediction_at(index_t node) const { return {.alpha = 1, .beta = -sigma_of(node)}; }

  /// The step of second order to a node; that of a trajectory's first step is the chain's own.
  multistep_transition multistep_to(index_t next) const {
    const index_t node = plan_.node(next).parent;
    const double before = layout_.history(node).first < 0 ? 1 : sigma_of(plan_.node(node).parent);
    return dpm_solver_2m(before, {.sigma = sigma_of(node), .sigma_next = sigma_of(next)});
  }
  bool looks_back(index_t next) const {
    return plan_.node(next).solver == ode_solver::dpm_solver_2m && multistep_to(next).previous != 0;
  }

  /// The steps of second order from a node that look back. They want predictions in the velocity's place.
  void second_order_steps(index_t node, batch_view<T> x, batch_view<T> v) {
    ode_step(backend_, x, v, prediction_at(node), v);
    const batch_view<T> m = v;
    for (const index_t next : layout_.successors(node)) {
      if (!looks_back(next)) continue;
      const multistep_transition step_of = multistep_to(next);
      ode_step(backend_, x, m, transition{.alpha = step_of.alpha, .beta = step_of.beta}, batch_of(next));
      ode_step(backend_, batch_of(next), batch_of(layout_.history(node), node),
               transition{.alpha = 1, .beta = step_of.previous}, batch_of(next));
      if (layout_.history(next).first >= 0) copy_rows(backend_, m, batch_of(layout_.history(next), next));
    }
  }

  transition ode_transition(index_t node) const {
    return plan_.steps().ode_step(plan_.node(plan_.node(node).parent).knot, plan_.node(node).knot);
  }

  const B& backend_;
  M& model_;
  std::span<const index_t> prompts_;
  const forest& plan_;
  forest_layout layout_;
  trajectory_data<T, buffer> result_;
  buffer scratch_, history_, gathered_, velocity_;
  buffer_of<B, double> log_probs_;
  std::vector<index_t> of_rows_;  ///< prompts of the rows of a call
  std::vector<double> sigmas_;
};

}  // namespace tempflow::detail
