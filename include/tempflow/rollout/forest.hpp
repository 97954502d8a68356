// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a rollout visits, as a forest: trajectories start from noise, go on by the ODE or by drawing, and may
// share their past. Every method's rollout is a few lines of it (flow_plan.hpp, branch_plan.hpp,
// tree_plan.hpp):
//
//   forest f(chain);
//   auto at = f.start(4);                     // 4 initial noises per prompt
//   at = f.ode(at, 1);                        // the ODE from knot 0 to knot 1
//   at = f.draw(at, {.children = 6});         // 6 stochastic successors of each state: knot 2
//   at = f.ode(at, chain.steps());            // the ODE in one step to the last knot
//   f.finish(at);                             // 24 samples per prompt
//
// A node of the forest stands for all states with the same history of moves: `states` per prompt. They stand
// at one knot of the sigma grid and go through the model together.

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// How the states of a node came about.
enum class forest_move {
  start,  ///< initial noise
  ode,    ///< the chain's deterministic step
  draw    ///< the chain's stochastic transition
};

/// The deterministic step that forest_move::ode takes.
enum class ode_solver {
  one_step,      ///< the chain's own: Euler's, for a flow
  dpm_solver_2m  ///< of second order where the step before was one too; for flows
};

/// States with the same history of moves.
struct forest_node {
  forest_move move = forest_move::start;
  index_t parent = -1;       ///< node they come from; -1 for a start
  index_t knot = 0;          ///< of the sigma grid: the model sees them at sigma_knot
  index_t children = 1;      ///< of each state of the parent; of a start: initial noises per prompt
  index_t states = 1;        ///< per prompt
  index_t first_seed = 0;    ///< number of the first initial noise
  index_t seeds = 1;         ///< initial noises per prompt
  index_t first_branch = 0;  ///< identity of the first state's draws within its seed; the next have the next
  ode_solver solver = ode_solver::one_step;  ///< of a move by the ODE
  bool trained = false;                      ///< a transition to train on
  bool finished = false;                     ///< a sample
};

/// How forest::draw draws the successors of a node.
struct draw_options {
  index_t children = 1;  ///< successors of each state
  bool trained = true;   ///< whether their transitions are kept to train on
  /// Added to the numbers of the branches, which are identities: other numbers, other noise.
  index_t branch_offset = 0;
};

/// A plan in full: every state that a rollout visits. Copyable.
class forest {
 public:
  /// Rows the model takes in a call, and rows of what a call needs beside the states; 0: any. Never changes a result.
  index_t max_batch = 0;
  index_t max_bytes = 0;  ///< of a rollout's batches, kept and working (rollout_cost); 0: any
  /// Throw where the model returns a number that is not finite; without, it goes on into samples and log-probs.
  bool check_velocities = true;
  log_prob_convention convention = {};
  /// Siblings in pairs: the noise of an odd branch is minus that of the even branch before it.
  bool antithetic = false;
  /// Trained successors are not stored but drawn again from their keys when a batch is trained on: see
  /// policy_batch::drawn.
  bool redraw = false;

  /// Throws schedule_error for a chain of 65,534 steps or more, whose steps have no identities.
  explicit forest(chain steps) : steps_(std::move(steps)) {
    if (steps_.steps() >= step_limit) {
      throw schedule_error(
          detail::message("forest: a chain of ", steps_.steps(), " steps, must be fewer than ", step_limit));
    }
  }

  /// Starts `seeds` trajectories per prompt at knot 0. Seeds are identities: the same seed of a prompt is the
  /// same noise in every process. Throws value_error for no seeds, or seeds outside [0, 2^32) or started
  /// twice.
  index_t start(index_t seeds, index_t first_seed = 0) {
    constexpr index_t limit = index_t{1} << 32;
    if (seeds < 1 || first_seed < 0 || first_seed > limit || seeds > limit - first_seed) {
      throw value_error(detail::message("forest: ", seeds, " seeds from seed ", first_seed,
                                        " on, must be positive and below 2^32"));
    }
    for (const forest_node& other : nodes_) {
      if (other.move != forest_move::start) continue;
      if (first_seed < other.first_seed + other.seeds && other.first_seed < first_seed + seeds) {
        throw value_error(detail::message("forest: seeds ", first_seed, " to ", first_seed + seeds - 1,
                                          " start where seeds ", other.first_seed, " to ",
                                          other.first_seed + other.seeds - 1, " have started"));
      }
    }
    return add({.children = seeds, .states = seeds, .first_seed = first_seed, .seeds = seeds});
  }

  /// A deterministic step from `from` straight to a later knot. Throws schedule_error for a knot that is not
  /// later, for a chain without a deterministic step, and for dpm_solver_2m on a chain that is not a flow's.
  index_t ode(index_t from, index_t to_knot, ode_solver solver = ode_solver::one_step) {
    forest_node next = successor(from);
    const transition step = steps_.ode_step(next.knot, to_knot);
    if (solver == ode_solver::dpm_solver_2m &&
        (step.alpha != 1 || step.beta != step.sigma_next - step.sigma)) {
      throw schedule_error(
          detail::message("forest: dpm_solver_2m solves the ODE of flows; the chain's step from ", "knot ",
                          next.knot, " has alpha = ", step.alpha, ", beta = ", step.beta));
    }
    next.move = forest_move::ode;
    next.knot = to_knot;
    next.solver = solver;
    return add(next);
  }

  /// Stochastic successors of the states of `from`, at the next knot.
  ///
  /// The k-th child of a state with branch b is branch b children + branch_offset + k of its step.
  /// Throws schedule_error for a step that draws no noise; value_error for no children, a branch that passes
  /// 65,535, and draws that another node of the same step makes too.
  index_t draw(index_t from, const draw_options& options = {}) {
    forest_node next = successor(from);
    const index_t step = next.knot;
    if (step >= steps_.steps() || !steps_[step].stochastic()) {
      throw schedule_error(detail::message("forest: step ", step, " draws no noise",
                                           step < steps_.steps() ? " (std = 0)" : ": it is the last knot"));
    }
    const index_t children = options.children;
    if (children < 1 || children > branch_limit) {
      throw value_error(detail::message("forest: children = ", children, " of each state at step ", step,
                                        ", must be in [1, 65536]"));
    }
    next.move = forest_move::draw;
    next.knot = step + 1;
    next.children = children;
    if (next.states / next.seeds > branch_limit / children || options.branch_offset < 0 ||
        options.branch_offset > branch_limit) {
      throw value_error(detail::message("forest: step ", step, " draws ", children, " children of ",
                                        next.states / next.seeds, " states of a seed, numbered from ",
                                        options.branch_offset, " on: branches leave [0, 65536)"));
    }
    next.states *= children;
    next.first_branch = next.first_branch * children + options.branch_offset;
    next.trained = options.trained;
    check_branches(next, step);
    return add(next);
  }

  /// Makes the states of a node samples. Throws value_error unless they stand at the last knot.
  void finish(index_t node) {
    forest_node& last = nodes_[checked(node)];
    if (last.knot != steps_.steps()) {
      throw value_error(detail::message("forest: node ", node, " stands at knot ", last.knot,
                                        ", only states at knot ", steps_.steps(), " are samples"));
    }
    last.finished = true;
  }

  /// The nodes, parents before their children.
  std::span<const forest_node> nodes() const { return nodes_; }
  const forest_node& node(index_t i) const { return nodes_[checked(i)]; }

  const chain& steps() const { return steps_; }

  /// Throws value_error for a forest that cannot be rolled out: without nodes, with one that ends without being
  /// finished, or with siblings that are to be antithetic and odd in number; for a negative max_batch or
  /// max_bytes.
  void validate() const {
    if (nodes_.empty()) throw value_error("forest: nothing has been started");
    if (max_batch < 0 || max_bytes < 0) {
      throw value_error(detail::message("forest: max_batch = ", max_batch, ", max_bytes = ", max_bytes,
                                        ", must not be negative"));
    }
    std::vector<char> moves_on(nodes_.size());
    for (const forest_node& node : nodes_) {
      if (node.parent >= 0) moves_on[static_cast<std::size_t>(node.parent)] = 1;
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const forest_node& node = nodes_[i];
      if (!node.finished && moves_on[i] == 0) {
        throw value_error(detail::message("forest: node ", i, " ends at knot ", node.knot,
                                          " without being finished to a sample"));
      }
      const index_t branches = node.states / node.seeds;
      if (antithetic && node.move == forest_move::draw &&
          (node.first_branch % 2 != 0 || branches % 2 != 0 ||
           (node.children > 1 && node.children % 2 != 0))) {
        throw value_error(detail::message("forest: antithetic, and step ", node.knot - 1, " draws branches ",
                                          node.first_branch, " to ", node.first_branch + branches - 1,
                                          " with ", node.children, " per state: pairs need even numbers"));
      }
    }
  }

 private:
  static constexpr index_t branch_limit = 65536;

  std::size_t checked(index_t node) const {
    if (node < 0 || node >= static_cast<index_t>(nodes_.size())) {
      throw value_error(detail::message("forest: node ", node, " of ", nodes_.size()));
    }
    return static_cast<std::size_t>(node);
  }

  /// A node that comes from another and moves no further than it stands.
  forest_node successor(index_t from) const {
    forest_node next = nodes_[checked(from)];
    next.parent = from;
    next.children = 1;
    next.solver = ode_solver::one_step;
    next.trained = next.finished = false;
    return next;
  }

  /// Every draw has an identity that no other draw has.
  void check_branches(const forest_node& next, index_t step) const {
    const index_t branches = next.states / next.seeds, last = next.first_branch + branches - 1;
    if (last >= branch_limit) {
      throw value_error(detail::message("forest: branches ", next.first_branch, " to ", last, " of step ",
                                        step, " leave [0, 65536)"));
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const forest_node& other = nodes_[i];
      if (other.move != forest_move::draw || other.knot != step + 1) continue;
      const index_t other_last = other.first_branch + other.states / other.seeds - 1;
      const bool same_seeds =
          other.first_seed < next.first_seed + next.seeds && next.first_seed < other.first_seed + other.seeds;
      if (same_seeds && other.first_branch <= last && next.first_branch <= other_last) {
        throw value_error(detail::message("forest: branches ", next.first_branch, " to ", last, " of step ",
                                          step, " would draw the noise of node ", i, ", branches ",
                                          other.first_branch, " to ", other_last,
                                          "; choose another branch_offset"));
      }
    }
  }

  index_t add(const forest_node& node) {
    nodes_.push_back(node);
    return static_cast<index_t>(nodes_.size()) - 1;
  }

  chain steps_;
  std::vector<forest_node> nodes_;
};

}  // namespace tempflow
