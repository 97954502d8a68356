// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// States that any number of transitions leave, and the same transitions as rows with states of their own.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "support/policy_problem.hpp"

namespace support {

/// Transitions of each state: none, one, several.
inline const std::vector<index_t> mixed_counts{3, 1, 0, 6, 2, 1, 4, 0};

/// Rows of a batch, each as often as it has transitions.
template <class T>
batch_buffer<T> repeated(const batch_buffer<T>& states, const std::vector<index_t>& counts) {
  index_t rows = 0;
  for (const index_t count : counts) rows += count;
  batch_buffer<T> repeats(rows, states.columns());
  index_t row = 0;
  for (index_t s = 0; s < states.rows(); ++s) {
    for (index_t k = 0; k < counts[static_cast<std::size_t>(s)]; ++k, ++row)
      std::copy_n(states.view().row(s), states.columns(), repeats.view().row(row));
  }
  return repeats;
}

/// Transitions on policy in storage T, by the states that they leave (batch) and alone (rows).
template <class T>
struct sibling_problem {
  std::vector<index_t> counts, offsets{0};
  std::vector<transition> steps;
  batch_buffer<T> x, v, v_ref;
  drawn_rows<T> rows;  ///< with x, v, v_ref and steps repeated
  std::vector<tempflow::noise_id> ids;
  bool pairs = false;

  template <class B>
  sibling_problem(const B& backend, index_t columns, const std::vector<index_t>& of = mixed_counts,
                  log_prob_convention convention = {})
      : counts(of),
        steps(mixed_transitions(states())),
        x(random_batch<T>(states(), columns, 11)),
        v(random_batch<T>(states(), columns, 12)),
        v_ref(random_batch<T>(states(), columns, 13)),
        rows(backend, total(), columns, convention) {
    for (const index_t count : counts) offsets.push_back(offsets.back() + count);
    rows.steps.clear();
    for (std::size_t s = 0; s < counts.size(); ++s)
      rows.steps.insert(rows.steps.end(), static_cast<std::size_t>(counts[s]), steps[s]);
    rows.x = repeated(x, counts), rows.v = repeated(v, counts), rows.v_ref = repeated(v_ref, counts);
    ids = mixed_ids(total());
    tempflow::step(backend, rows.x.view(), rows.v, rows.steps, {test_key, ids}, rows.y, rows.log_probs,
                   convention);
  }

  index_t states() const { return static_cast<index_t>(counts.size()); }
  index_t total() const {
    index_t sum = 0;
    for (const index_t count : counts) sum += count;
    return sum;
  }
  std::size_t first(std::size_t state) const { return static_cast<std::size_t>(offsets[state]); }

  /// Old log-probs of a policy that has moved on, from a little to beyond a clip range of 1e-3.
  void leave_policy() {
    numbers source(14);
    for (double& old : rows.log_probs) old += 4e-3 * source.next();
  }

  tempflow::policy_batch<T> batch() const {
    auto of_states = rows.batch();
    of_states.x = x, of_states.transitions = steps, of_states.offsets = offsets;
    return of_states;
  }

  /// Draws y anew, with one identity for each state and the branches behind it.
  template <class B>
  void draw(const B& backend, bool antithetic) {
    ids.clear();
    for (std::size_t s = 0; s < counts.size(); ++s) {
      for (index_t k = 0; k < counts[s]; ++k) {
        ids.push_back({.prompt = 7, .seed = static_cast<std::uint32_t>(s), .step = 2});
        ids.back().branch = static_cast<std::uint16_t>(k);
      }
    }
    pairs = antithetic;
    tempflow::step(backend, rows.x.view(), rows.v, rows.steps, {test_key, ids, pairs}, rows.y, rows.log_probs,
                   rows.convention);
  }

  /// The same batch without x and y: what was drawn is drawn again.
  tempflow::policy_batch<T> drawn_again() const {
    auto again = batch();
    again.x = {}, again.y = {};
    again.drawn = tempflow::noise_source(test_key, ids, pairs);
    return again;
  }
};

}  // namespace support
