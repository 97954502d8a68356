// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The engine of roll_out: all states at a knot go through the model together, max_batch of them in a call, and then
// leave it.

#include <algorithm>
#include <concepts>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/copy_rows.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/put_back.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/rollout/detail/finite_velocities.hpp"
#include "tempflow/rollout/detail/forest_layout.hpp"
#include "tempflow/rollout/detail/rollout_tables.hpp"
#include "tempflow/rollout/fixed_elements.hpp"
#include "tempflow/rollout/trajectories.hpp"
#include "tempflow/rollout/velocity_model.hpp"
#include "tempflow/schedule/multistep.hpp"

namespace tempflow::detail {

template <backend B, velocity_model M>
class TEMPFLOW_HIDDEN wavefront {
 public:
  using T = typename M::value_type;
  using V = velocity_of<M>;
  using buffer = buffer_of<B, T>;

  wavefront(const B& backend, M& model, std::span<const index_t> prompts, const forest& plan, noise_key key,
            const fixed_elements<T>& fixed)
      : backend_(backend),
        model_(model),
        prompts_(prompts),
        plan_(plan),
        fixed_(fixed),
        layout_(plan),
        result_{.steps = plan.steps(),
                .key = key,
                .convention = plan.convention,
                .antithetic = plan.antithetic,
                .redraw = plan.redraw,
                .mask = fixed.mask} {
    const auto rows = [&](index_t per_prompt) { return per_prompt * static_cast<index_t>(prompts.size()); };
    const auto batch = [&](index_t per_prompt) {
      return make_buffer<T>(backend, rows(per_prompt), model.dimension());
    };
    result_.states = batch(layout_.rows(rollout_memory::states));
    result_.samples = batch(layout_.rows(rollout_memory::samples));
    result_.trunk_samples = batch(layout_.rows(rollout_memory::trunk_samples));
    scratch_ = batch(layout_.rows(rollout_memory::scratch));
    history_ = batch(layout_.rows(rollout_memory::history));
    const auto call_of = [&](index_t per_prompt) { return call_rows(rows(per_prompt), plan.max_batch); };
    // A masked step wants back what x had, so it is never in place.
    const index_t aside = fixed.mask.given() ? layout_.largest_call : layout_.gathered;
    gathered_ = make_buffer<T>(backend, call_of(aside), model.dimension());
    velocity_ = make_buffer<V>(backend, call_of(layout_.largest_call), model.dimension());
    if (!std::same_as<T, V> && history_.rows() > 0)
      prediction_ = make_buffer<T>(backend, call_of(layout_.largest_call), model.dimension());
    log_probs_ = make_buffer<double>(backend, 1, rows(layout_.draws));
    probes_ = make_buffer<double>(backend, 1, plan.check_velocities ? rows(layout_.evaluations) : 0);
  }

  trajectories_of<B, M> run() && {
    for (index_t node = 0; node < static_cast<index_t>(plan_.nodes().size()); ++node) {
      if (plan_.node(node).move != forest_move::start) continue;
      const states_of_node all{node, 0, plan_.node(node).states * count()};
      const auto ids = ids_of(all, initial_noise_step, 1, 0);
      fill_noise(backend_, noise_source(result_.key, ids), batch_of(all));
      if (fixed_.mask.given()) put_back(backend_, fixed_.values, fixed_.mask, batch_of(all));
    }
    for (index_t knot = 0; knot < plan_.steps().steps(); ++knot) advance(knot);
    if (!host_backend<B> && plan_.check_velocities) check_probes(plan_, layout_, prompts_, on_host(probes_));
    forest_tables(plan_, layout_, prompts_).fill(on_host(log_probs_), result_);
    return trajectories_of<B, M>(std::move(result_));
  }

 private:
  /// Some states of a node, next to each other; all prompts' are numbered together.
  struct states_of_node {
    index_t node, first, count;
  };

  index_t count() const { return static_cast<index_t>(prompts_.size()); }

  std::vector<double> on_host(const buffer_of<B, double>& row) const {
    std::vector<double> values(static_cast<std::size_t>(row.columns()));
    copy_to_host(backend_, row.view(), batch_view<double>(values.data(), 1, row.columns()));
    return values;
  }

  batch_view<T> batch_of(rollout_place place, const states_of_node& of) {
    buffer* const memory[] = {&result_.states, &result_.samples, &result_.trunk_samples, &scratch_,
                              &history_};
    return memory[static_cast<std::size_t>(place.memory)]->view().slice(place.first * count() + of.first,
                                                                        of.count);
  }
  batch_view<T> batch_of(const states_of_node& of) { return batch_of(layout_.place(of.node), of); }

  /// The states of a node that come from some of its parent's.
  states_of_node successors_at(index_t next, const states_of_node& from) const {
    const index_t children = plan_.node(next).children;
    return {next, from.first * children, from.count * children};
  }

  /// Identities of the draws that leave states of a node: of the first child of each.
  std::vector<noise_id> ids_of(const states_of_node& from, index_t step, index_t children,
                               index_t first_branch) const {
    std::vector<noise_id> ids;
    for_each_state(plan_.node(from.node), prompts_, from.first, from.count,
                   [&](index_t prompt, index_t seed, index_t i) {
                     ids.push_back({.prompt = static_cast<std::uint32_t>(prompt),
                                    .seed = static_cast<std::uint32_t>(seed),
                                    .step = static_cast<std::uint16_t>(step),
                                    .branch = static_cast<std::uint16_t>(first_branch + i * children)});
                   });
    return ids;
  }

  /// Takes all states at a knot from it, in calls of the model of max_batch rows.
  void advance(index_t knot) {
    const index_t limit = call_rows(layout_.states_at(knot) * count(), plan_.max_batch);
    std::vector<states_of_node> parts;
    index_t filled = 0;
    for (const index_t node : layout_.leaving(knot)) {
      const index_t states = plan_.node(node).states * count();
      for (index_t first = 0; first < states;) {
        const index_t taken = (std::min)(states - first, limit - filled);
        parts.push_back({node, first, taken});
        first += taken, filled += taken;
        if (filled == limit) call(parts, filled), parts.clear(), filled = 0;
      }
    }
    if (filled > 0) call(parts, filled);
  }

  /// One call of the model, then each node's moves.
  void call(std::span<const states_of_node> parts, index_t rows) {
    const bool aside = parts.size() > 1 || fixed_.mask.given();
    const batch_view<T> x = aside ? gathered_.view().slice(0, rows) : batch_of(parts[0]);
    const batch_view<V> v = velocity_.view().slice(0, rows);
    of_rows_.clear();
    for (const states_of_node& part : parts) {
      const auto first = static_cast<index_t>(of_rows_.size());
      if (aside) copy_rows(backend_, batch_of(part), x.slice(first, part.count));
      for_each_state(plan_.node(part.node), prompts_, part.first, part.count,
                     [&](index_t prompt, index_t, index_t) { of_rows_.push_back(prompt); });
    }
    sigmas_.assign(static_cast<std::size_t>(rows), sigma_of(parts[0].node));
    model_.velocity(batch_view<const T>(x), sigmas_, of_rows_, v);
    if (plan_.check_velocities) check_velocities(parts, x, v);
    index_t first = 0;
    for (const states_of_node& part : parts) {
      leave(part, x.slice(first, part.count), v.slice(first, part.count));
      first += part.count;
    }
  }

  /// On a host a velocity that is not finite ends the rollout here; on a device, nobody waits before the end.
  void check_velocities(std::span<const states_of_node> parts, batch_view<const T> x, batch_view<const V> v) {
    const std::span<double> probes(probes_.view().data() + evaluated_, static_cast<std::size_t>(v.rows()));
    probe_rows(backend_, v, probes);
    evaluated_ += v.rows();
    if constexpr (host_backend<B>) {
      index_t row = 0;
      for (const states_of_node& part : parts) {
        for (index_t i = 0; i < part.count; ++i, ++row) {
          if (is_finite(probes[static_cast<std::size_t>(row)])) continue;
          throw_not_finite(plan_, prompts_, {part.node, part.first + i},
                           not_finite_in("v", v, row) + not_finite_in("x", x, row));
        }
      }
    }
  }

  /// The successors of states of a node. The first draw and the first step of the ODE share a pass over x.
  void leave(const states_of_node& from, batch_view<T> x, batch_view<V> v) {
    const auto& successors = layout_.successors(from.node);
    const auto first = [&](const auto& is) {
      const auto found = std::ranges::find_if(successors, is);
      return found == successors.end() ? index_t{-1} : *found;
    };
    const index_t draw = first([&](index_t s) { return layout_.scored(s); });
    const index_t ode = first([&](index_t s) {
      return plan_.node(s).move == forest_move::ode && plan_.node(s).solver == ode_solver::one_step;
    });
    if (draw >= 0) draw_states(draw, ode, from, x, v);
    bool later = false;
    for (const index_t next : successors) {
      if (next == draw || (next == ode && draw >= 0)) continue;
      if (plan_.node(next).move == forest_move::draw) {
        draw_states(next, -1, from, x, v);
      } else if (looks_back(next)) {
        later = true;
      } else {
        const states_of_node to = successors_at(next, from);
        if (layout_.history(next).first >= 0)
          ode_step(backend_, x, v, prediction_at(from.node), batch_of(layout_.history(next), to));
        ode_step(backend_, x, v, ode_transition(next), batch_of(to), fixed_.mask);
      }
    }
    if (later) second_order_steps(from, x, v);
    for (const index_t next : successors) {
      if (!plan_.node(next).finished || !layout_.kept(next)) continue;
      const states_of_node to = successors_at(next, from);
      copy_rows(backend_, batch_of(to), batch_of(layout_.sample(next), to));
    }
  }

  /// Draws states of a node, and takes the step of the ODE to another (-1: none).
  void draw_states(index_t next, index_t trunk, const states_of_node& from, batch_view<T> x,
                   batch_view<V> v) {
    const forest_node& node = plan_.node(next);
    const states_of_node to = successors_at(next, from);
    const index_t step_at = node.knot - 1;
    const transition& step_of = plan_.steps()[step_at];
    const auto ids = ids_of(from, step_at, node.children, node.first_branch);
    const noise_source noise(result_.key, ids, plan_.antithetic);
    const std::span<double> log_probs(
        log_probs_.view().data() + layout_.first_draw(next) * count() + to.first,
        layout_.scored(next) ? static_cast<std::size_t>(to.count) : 0);
    if (trunk < 0 && node.children == 1) {
      step(backend_, x, v, step_of, noise, batch_of(to), log_probs, plan_.convention, fixed_.mask);
    } else if (trunk < 0) {
      branch_step(backend_, x, v, step_of, step_of, noise, {}, batch_of(to), log_probs, plan_.convention,
                  fixed_.mask);
    } else {
      branch_step(backend_, x, v, ode_transition(trunk), step_of, noise, batch_of(successors_at(trunk, from)),
                  batch_of(to), log_probs, plan_.convention, fixed_.mask);
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
  void second_order_steps(const states_of_node& from, batch_view<T> x, batch_view<V> v) {
    const batch_view<T> m = [&] {
      if constexpr (std::same_as<T, V>) return v;
      return prediction_.view().slice(0, v.rows());
    }();
    ode_step(backend_, x, v, prediction_at(from.node), m);
    for (const index_t next : layout_.successors(from.node)) {
      if (!looks_back(next)) continue;
      const states_of_node to = successors_at(next, from);
      const multistep_transition step_of = multistep_to(next);
      ode_step(backend_, x, m, transition{.alpha = step_of.alpha, .beta = step_of.beta}, batch_of(to));
      ode_step(backend_, batch_of(to), batch_of(layout_.history(from.node), from),
               transition{.alpha = 1, .beta = step_of.previous}, batch_of(to));
      if (fixed_.mask.given()) put_back(backend_, x, fixed_.mask, batch_of(to));
      if (layout_.history(next).first >= 0) copy_rows(backend_, m, batch_of(layout_.history(next), to));
    }
  }

  transition ode_transition(index_t node) const {
    return plan_.steps().ode_step(plan_.node(plan_.node(node).parent).knot, plan_.node(node).knot);
  }

  const B& backend_;
  M& model_;
  std::span<const index_t> prompts_;
  const forest& plan_;
  const fixed_elements<T>& fixed_;
  forest_layout layout_;
  trajectory_data<T, buffer> result_;
  buffer scratch_, history_, gathered_, prediction_;
  buffer_of<B, V> velocity_;
  buffer_of<B, double> log_probs_, probes_;
  index_t evaluated_ = 0;         ///< rows that the model has been given
  std::vector<index_t> of_rows_;  ///< prompts of the rows of a call
  std::vector<double> sigmas_;
};

}  // namespace tempflow::detail
