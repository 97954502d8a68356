// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// One batch through every operation, to compare what different machines, threads and splits make of it.

#include <algorithm>
#include <span>
#include <vector>

#include "support/policy_problem.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/guidance.hpp"

namespace support {

/// Everything that the operations write for one batch.
template <class T>
struct operation_outputs {
  // Enough elements for several threads, and for a lone row to be cut in parts; the last tile is not full.
  static constexpr index_t rows = 23, columns = 33 * 1024 + 1, explorations = 3,
                           channels = 47;  ///< of a token; there are 719 of them

  batch_buffer<T> noise{rows, columns}, mean{rows, columns}, y{rows, columns}, trunk{rows, columns},
      branches{rows * explorations, columns}, guided{rows, columns}, kept{rows, columns},
      of_conditional{rows, columns}, of_unconditional{rows, columns};
  batch_buffer<float> gradient{rows, columns};
  std::vector<double> log_probs = std::vector<double>(rows),
                      branch_log_probs = std::vector<double>(rows * explorations),
                      scored = std::vector<double>(rows);
  std::vector<tempflow::policy_row> policy = std::vector<tempflow::policy_row>(rows);

  bool same_as(const operation_outputs& other) const {
    bool same = same_bits(noise, other.noise) && same_bits(mean, other.mean) && same_bits(y, other.y) &&
                same_bits(trunk, other.trunk) && same_bits(branches, other.branches) &&
                same_bits(guided, other.guided) && same_bits(kept, other.kept) &&
                same_bits(of_conditional, other.of_conditional) &&
                same_bits(of_unconditional, other.of_unconditional) && same_bits(gradient, other.gradient) &&
                same_bits(log_probs, other.log_probs) &&
                same_bits(branch_log_probs, other.branch_log_probs) && same_bits(scored, other.scored);
    for (std::size_t i = 0; i < policy.size(); ++i) {
      const auto &a = policy[i], &b = other.policy[i];
      same = same && a.log_prob == b.log_prob && a.log_ratio == b.log_ratio && a.surrogate == b.surrogate &&
             a.kl == b.kl;
    }
    return same;
  }
};

/// What they read: rows of different steps, samplers, prompts and branches. V: storage type of the velocities.
template <class T, class V = T>
struct operation_inputs {
  using outputs = operation_outputs<T>;
  static constexpr index_t rows = outputs::rows, columns = outputs::columns,
                           explorations = outputs::explorations;

  batch_buffer<T> x = random_batch<T>(rows, columns, 1);
  batch_buffer<V> v = random_batch<V>(rows, columns, 2), v_ref = random_batch<V>(rows, columns, 3);
  std::vector<tempflow::transition> steps = mixed_transitions(rows);
  std::vector<tempflow::noise_id> ids = mixed_ids(rows);
  std::vector<double> old = std::vector<double>(rows, 0.25), advantages = numbers(4).take(rows),
                      scales = numbers(5).take(rows);
  tempflow::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.1};

  /// Rows [first, first + count) of all operations.
  template <class B>
  void compute(const B& backend, index_t first, index_t count, outputs& out) const {
    const auto at = static_cast<std::size_t>(first), size = static_cast<std::size_t>(count);
    const auto xs = x.view().slice(first, count), vs = v.view().slice(first, count);
    const std::span<const tempflow::transition> step(steps.data() + at, size);
    const std::span<const tempflow::noise_id> id(ids.data() + at, size);
    const auto ys = out.y.view().slice(first, count);
    tempflow::fill_noise(backend, {test_key, id}, out.noise.view().slice(first, count));
    tempflow::ode_step(backend, xs, vs, step, out.mean.view().slice(first, count));
    tempflow::step(backend, xs, vs, step, {test_key, id}, ys, std::span(out.log_probs).subspan(at, size));
    tempflow::branch_step(backend, xs, vs, step, step, {test_key, id}, out.trunk.view().slice(first, count),
                          out.branches.view().slice(first * explorations, count * explorations),
                          std::span(out.branch_log_probs).subspan(at * explorations, size * explorations));
    tempflow::log_prob(backend, xs, vs, ys, step, std::span(out.scored).subspan(at, size));
    const tempflow::policy_batch<T> batch{.x = xs,
                                          .y = ys,
                                          .transitions = step,
                                          .old_log_probs = std::span(old).subspan(at, size),
                                          .advantages = std::span(advantages).subspan(at, size),
                                          .mean_over = rows};
    const tempflow::guidance_options linear{.scale = std::span<const double>(scales).subspan(at, size)},
        with_norms{.scale = linear.scale, .channels = outputs::channels};
    tempflow::guide(backend, xs, ys, linear, out.guided.view().slice(first, count));
    tempflow::guide(backend, xs, ys, with_norms, out.kept.view().slice(first, count));
    tempflow::guide_gradient(backend, out.noise.view().slice(first, count), xs, ys, with_norms,
                             out.of_conditional.view().slice(first, count),
                             out.of_unconditional.view().slice(first, count));
    tempflow::policy_loss(backend, batch, vs, v_ref.view().slice(first, count), objective,
                          out.gradient.view().slice(first, count), std::span(out.policy).subspan(at, size));
  }

  template <class B>
  outputs compute(const B& backend, index_t batch_size = rows) const {
    outputs out;
    for (index_t first = 0; first < rows; first += batch_size) {
      compute(backend, first, std::min(batch_size, rows - first), out);
    }
    return out;
  }
};

}  // namespace support
