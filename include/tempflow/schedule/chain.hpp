// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A chain: the transitions of a whole sampling run, sigma_0 down to sigma_T.

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/schedule/dynamics.hpp"
#include "tempflow/schedule/sigmas.hpp"
#include "tempflow/schedule/window.hpp"

namespace tempflow {

/// T transitions over a grid of T + 1 sigmas. Make one with make_chain.
class chain {
 public:
  /// The rule of a chain's deterministic step.
  using deterministic_rule = std::function<transition(const sigma_step&)>;

  /// Joins a grid and its transitions, of which alpha, beta and std count: the rest follows from the grid.
  /// deterministic: the ODE of the process that the transitions sample, `ode{}` for a flow; without it, plans
  /// that need the ODE refuse the chain. Throws schedule_error for a grid that check_sigmas rejects, another
  /// number of transitions than steps, or one with a coefficient that is not finite, a negative std, or a negative
  /// alpha: no process of this kind turns its state around, but an explicit step does that is too long for its
  /// noise.
  chain(std::vector<double> sigmas, std::vector<transition> transitions,
        deterministic_rule deterministic = {})
      : sigmas_(std::move(sigmas)),
        transitions_(std::move(transitions)),
        deterministic_(std::move(deterministic)) {
    check_sigmas(sigmas_);
    if (transitions_.size() + 1 != sigmas_.size()) {
      throw schedule_error(detail::message("chain: ", transitions_.size(), " transitions over ",
                                           sigmas_.size(), " sigmas, expected ", sigmas_.size() - 1));
    }
    for (std::size_t i = 0; i < transitions_.size(); ++i) {
      transition& step = transitions_[i];
      if (!is_finite(step.alpha) || !is_finite(step.beta) || !is_finite(step.std) || step.std < 0) {
        throw schedule_error(detail::message("chain: step ", i, " has alpha = ", step.alpha,
                                             ", beta = ", step.beta, ", std = ", step.std));
      }
      if (step.alpha < 0) {
        throw schedule_error(
            detail::message("chain: step ", i, " from sigma = ", sigmas_[i], " to ", sigmas_[i + 1],
                            " has alpha = ", step.alpha, ", std = ", step.std,
                            ": outside its stable range, alpha >= 0; lower the noise or shorten the step",
                            i == 0 && sigmas_[0] > 0.99 && sigmas_[0] < pure_noise
                                ? ", or start at 0.999 and up, flow_sde's pure noise"
                                : ""));
      }
      step.sigma = sigmas_[i];
      step.sigma_next = sigmas_[i + 1];
      step.dt = step.sigma - step.sigma_next;
      step.diffusion = step.std / std::sqrt(step.dt);
    }
  }

  /// T.
  index_t steps() const { return static_cast<index_t>(transitions_.size()); }

  /// The T + 1 noise levels, descending.
  std::span<const double> sigmas() const { return sigmas_; }

  /// The T transitions, from the noisiest.
  std::span<const transition> transitions() const { return transitions_; }

  /// Transition of step i, from sigma_i to sigma_{i+1}. Throws schedule_error for a step that is not there.
  const transition& operator[](index_t i) const { return transitions_[checked(i, steps())]; }

  /// Deterministic step from sigma_i to sigma_{i+1}: the chain's own, or that of its rule where the chain draws
  /// noise.
  transition ode_step(index_t i) const { return ode_step(i, i + 1); }

  /// Deterministic step from sigma_from straight to sigma_to: the chain's own, or that of its rule; for a flow,
  /// Euler's. Throws schedule_error unless from < to are knots, where a rule is needed and the chain has none, and
  /// for a rule that draws noise or gives a coefficient that is not finite or a negative alpha.
  transition ode_step(index_t from, index_t to) const {
    if (to <= from) {
      throw schedule_error(detail::message("chain: no ODE step from knot ", from, " to knot ", to));
    }
    const double sigma = sigmas_[checked(from, steps())], sigma_next = sigmas_[checked(to, steps() + 1)];
    if (to == from + 1 && !transitions_[static_cast<std::size_t>(from)].stochastic())
      return transitions_[static_cast<std::size_t>(from)];
    if (!deterministic_) {
      throw schedule_error(
          "chain: no deterministic step: name its rule in the dynamics (`using deterministic = ...;`), or "
          "pass it to make_chain");
    }
    transition step = deterministic_({.sigma = sigma, .sigma_next = sigma_next});
    if (!is_finite(step.alpha) || step.alpha < 0 || !is_finite(step.beta) || step.std != 0) {
      throw schedule_error(detail::message("chain: the deterministic step from knot ", from, " to knot ", to,
                                           " has alpha = ", step.alpha, ", beta = ", step.beta,
                                           ", std = ", step.std));
    }
    step.sigma = sigma, step.sigma_next = sigma_next, step.dt = sigma - sigma_next;
    return step;
  }

  /// Steps that draw noise.
  std::vector<index_t> stochastic_steps() const {
    std::vector<index_t> found;
    for (index_t i = 0; i < steps(); ++i) {
      if ((*this)[i].stochastic()) found.push_back(i);
    }
    return found;
  }

  /// Steps worth exploring and training: those that draw noise, but the chain's last. Its density is all but
  /// singular on the field's grids, and every published configuration leaves it out.
  std::vector<index_t> trainable_steps() const {
    auto found = stochastic_steps();
    if (!found.empty() && found.back() == steps() - 1) found.pop_back();
    return found;
  }

 private:
  static std::size_t checked(index_t i, index_t count) {
    if (i < 0 || i >= count) throw schedule_error(detail::message("chain: step ", i, " of ", count));
    return static_cast<std::size_t>(i);
  }

  std::vector<double> sigmas_;
  std::vector<transition> transitions_;
  deterministic_rule deterministic_;
};

namespace detail {

template <dynamics Rule>
chain::deterministic_rule deterministic_rule_of(const Rule&) {
  if constexpr (dynamics_with_ode<Rule>) return typename Rule::deterministic{};
  return {};
}

}  // namespace detail

/// A chain whose listed steps follow `rule`, and all others `deterministic`, or the rule's own where that is
/// empty. Throws schedule_error for sigmas that do not descend, steps outside the grid, other steps without a
/// deterministic rule, and a step outside its stable range (alpha < 0); and what the rules throw.
template <dynamics Rule>
chain make_chain(std::vector<double> sigmas, const Rule& rule, std::span<const index_t> stochastic_steps,
                 chain::deterministic_rule deterministic = {}) {
  check_sigmas(sigmas);
  const auto steps = static_cast<index_t>(sigmas.size()) - 1;
  check_step_list(stochastic_steps, steps);
  if (!deterministic) deterministic = detail::deterministic_rule_of(rule);
  std::vector<transition> transitions;
  for (std::size_t i = 0; i + 1 < sigmas.size(); ++i) {
    const sigma_step at{.sigma = sigmas[i], .sigma_next = sigmas[i + 1]};
    const bool chosen =
        std::binary_search(stochastic_steps.begin(), stochastic_steps.end(), static_cast<index_t>(i));
    if (!chosen && !deterministic) {
      throw schedule_error(detail::message("make_chain: step ", i,
                                           " is to be deterministic; name the rule in the ",
                                           "dynamics (`using deterministic = ...;`) or pass it"));
    }
    transitions.push_back(chosen ? rule(at) : deterministic(at));
  }
  return {std::move(sigmas), std::move(transitions), std::move(deterministic)};
}

/// A chain that follows `rule` at every step, and `deterministic` where a plan asks for the ODE. Throws
/// schedule_error for sigmas that do not descend and a step outside its stable range, and what the rule throws.
template <dynamics Rule, dynamics Deterministic>
chain make_chain(std::vector<double> sigmas, const Rule& rule, const Deterministic& deterministic) {
  const auto steps = step_range(0, static_cast<index_t>(sigmas.size()) - 1);
  return make_chain(std::move(sigmas), rule, steps, deterministic);
}

/// As above, with the rule's own deterministic rule, if it has one.
template <dynamics Rule>
chain make_chain(std::vector<double> sigmas, const Rule& rule) {
  const auto steps = step_range(0, static_cast<index_t>(sigmas.size()) - 1);
  return make_chain(std::move(sigmas), rule, steps);
}

/// What is no dynamics does not compile, and is told what they are.
template <class Rule, class... Rest>
  requires(!dynamics<Rule>)
auto make_chain(const std::vector<double>&, const Rule&, Rest&&...) {
  static_assert(dynamics<Rule>,
                "make_chain needs dynamics: a function from a sigma_step to a transition, "
                "transition operator()(const sigma_step&) const (schedule/dynamics.hpp)");
}

}  // namespace tempflow
