// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A random batch: states that any number of transitions leave, on steps of real schedules or with coefficients and
// elements of up to thirty orders of magnitude.

#include <cstdint>
#include <vector>

#include "properties/draw.hpp"
#include "support/policy_problem.hpp"
#include "support/row_problem.hpp"
#include "tempflow/ops/log_prob.hpp"
#include "tempflow/ops/step.hpp"

namespace properties {

inline transition wild_transition(draw& source) {
  const auto factor = [&] {
    return source.once_in(4) ? source.one_of({0.0, 1.0, -1.0}) : source.signed_magnitude(1e-15, 1e15);
  };
  transition step{.alpha = factor(), .beta = factor(), .std = source.magnitude(1e-15, 1e15)};
  step.sigma = source.uniform(0.01, 1), step.sigma_next = step.sigma * source.uniform(0, 0.99);
  step.dt = step.sigma - step.sigma_next, step.diffusion = source.magnitude(1e-15, 1e15);
  return step;
}

inline std::vector<transition> random_transitions(draw& source, index_t count, bool wild) {
  static const std::vector<transition> usual = support::stochastic_transitions();
  std::vector<transition> steps;
  for (index_t i = 0; i < count; ++i)
    steps.push_back(wild ? wild_transition(source) : source.one_of(std::span<const transition>(usual)));
  return steps;
}

inline std::vector<tempflow::noise_id> random_ids(draw& source, index_t count) {
  std::vector<tempflow::noise_id> ids;
  for (index_t i = 0; i < count; ++i) {
    ids.push_back({.prompt = static_cast<std::uint32_t>(source.bits()),
                   .seed = static_cast<std::uint32_t>(source.bits()),
                   .step = static_cast<std::uint16_t>(source.bits()),
                   .branch = static_cast<std::uint16_t>(source.between(0, 60'000))});
  }
  return ids;
}

/// Bytes of a mask of which each row counts some; one row, or one for each state.
inline std::vector<std::uint8_t> random_mask(draw& source, index_t rows, index_t columns) {
  std::vector<std::uint8_t> bytes(at(rows * columns));
  for (index_t i = 0; i < rows; ++i) {
    std::uint8_t* const row = bytes.data() + i * columns;
    const double share = source.one_of({0.02, 0.5, 0.98, 1.0});
    const index_t from = source.between(0, columns - 1);  // a stretch that is left out, up to here
    const bool stretch = source.once_in(3);
    for (index_t e = 0; e < columns; ++e) {
      const bool counts = (!stretch || e >= from) && source.uniform(0, 1) < share;
      row[e] = counts ? static_cast<std::uint8_t>(source.between(1, 255)) : std::uint8_t{0};
    }
    row[source.between(0, columns - 1)] = 1;
  }
  return bytes;
}

/// The largest size of elements that leaves room in T for a step.
template <class T>
double random_scale(draw& source, bool wild) {
  if (!wild) return 2;
  constexpr bool narrow = std::is_same_v<T, float16>;
  return narrow ? source.magnitude(1e-6, 1e3) : source.magnitude(1e-15, 1e15);
}

/// Transitions that leave states, in T, velocities in V.
template <class T, class V = T>
struct problem {
  bool wild;
  index_t states, columns;
  std::vector<index_t> counts, offsets{0};
  std::vector<transition> steps;
  tempflow::log_prob_convention convention;
  batch_buffer<T> x, y;
  batch_buffer<V> v, v_ref, v_old;
  std::vector<double> old, advantages, weights;
  std::vector<std::uint8_t> mask_bytes;
  index_t mask_rows = 0;

  /// one_each: a transition of each state.
  problem(draw& source, bool one_each)
      : wild(source.once_in(2)),
        states(source.between(1, 6)),
        columns(source.columns()),
        steps(random_transitions(source, states, wild)) {
    const auto conventions = support::all_conventions();
    if (!source.once_in(3))
      convention = source.one_of(std::span<const tempflow::log_prob_convention>(conventions));
    for (index_t s = 0; s < states; ++s) {
      counts.push_back(one_each ? 1 : source.between(0, 4));
      offsets.push_back(offsets.back() + counts.back());
    }
    x = support::random_batch<T>(states, columns, source.bits(), random_scale<T>(source, wild));
    const double of_v = random_scale<V>(source, wild);
    v = support::random_batch<V>(states, columns, source.bits(), of_v);
    v_old = support::near(v, of_v * source.one_of({0.0, 1e-3, 1.0}), source.bits());
    v_ref = support::near(v, of_v * source.one_of({1e-3, 1.0}), source.bits());
    draw_successors(source);
    for (index_t i = 0; i < rows(); ++i) {
      advantages.push_back(source.once_in(6) ? 0 : source.uniform(-3, 3));
      weights.push_back(source.once_in(6) ? 0 : source.magnitude(1e-3, 1e2));
    }
    if (source.once_in(2)) {
      mask_rows = source.once_in(2) ? 1 : states;
      mask_bytes = random_mask(source, mask_rows, columns);
    }
  }

  index_t rows() const { return offsets.back(); }
  /// The state that a row leaves.
  index_t state_of(index_t row) const {
    index_t s = 0;
    while (offsets[at(s) + 1] <= row) ++s;
    return s;
  }

  tempflow::element_mask mask() const {
    if (mask_rows == 0) return {};
    return {mask_bytes.data(), mask_rows, columns};
  }
  bool counts_element(index_t state, index_t e) const { return mask_rows == 0 || mask().row(state)[e] != 0; }

  tempflow::policy_batch<T> batch() const {
    return {.x = x,
            .y = y,
            .offsets = offsets,
            .transitions = steps,
            .mask = mask(),
            .old_log_probs = old,
            .advantages = advantages,
            .weights = weights,
            .convention = convention};
  }

 private:
  /// y near the mean of its step, where that can be stored.
  void draw_successors(draw& source) {
    y = batch_buffer<T>(rows(), columns);
    support::numbers normal(source.bits());
    for (index_t i = 0; i < rows(); ++i) {
      const index_t s = state_of(i);
      const transition& step = steps[at(s)];
      for (index_t e = 0; e < columns; ++e) {
        const double mean =
            step.alpha * value_of(x.view().row(s)[e]) + step.beta * value_of(v.view().row(s)[e]);
        const double drawn = mean + 2 * step.std * normal.next();
        constexpr double most = std::is_same_v<T, float16> ? 6e4 : 1e38;
        y.view().row(i)[e] = tempflow::store<T>(std::clamp(drawn, -most, most));
      }
    }
  }
};

}  // namespace properties
