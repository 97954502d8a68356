// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Batches for objectives of a row's means: with the velocity of the rollout's policy, and with finished samples.

#include <vector>

#include "support/sibling_problem.hpp"
#include "tempflow/schedule/clean_transition.hpp"

namespace support {

/// The convention that AWM's log-probs are in.
inline constexpr log_prob_convention squared_error{tempflow::log_prob_reduction::mean,
                                                   tempflow::log_prob_terms::squared_error};

/// A batch near v.
template <class T>
batch_buffer<T> near(const batch_buffer<T>& v, double distance, std::uint64_t seed) {
  batch_buffer<T> moved(v.rows(), v.columns());
  numbers source(seed);
  for (index_t i = 0; i < v.rows() * v.columns(); ++i) {
    const double value = value_of(v.view().data()[i]) + distance * source.next();
    moved.view().data()[i] = tempflow::store<T>(value);
  }
  return moved;
}

/// States that any number of transitions leave, drawn with v_old; or finished samples of them.
template <class T>
struct row_problem {
  sibling_problem<T> given;
  batch_buffer<T> v_old;

  template <class B>
  explicit row_problem(const B& backend, index_t columns, bool finished = false,
                       const std::vector<index_t>& counts = mixed_counts)
      : given(backend, columns, counts, finished ? squared_error : log_prob_convention{}),
        v_old(near(given.v, 0.02, 31)) {
    given.v_ref = near(given.v, 0.1, 32);
    if (finished) {
      for (std::size_t s = 0; s < given.steps.size(); ++s)
        given.steps[s] = tempflow::clean_transition(0.2 + 0.1 * static_cast<double>(s));
      given.rows.y = random_batch<T>(given.total(), columns, 33);
    } else {
      // Moderate steps, on whose scale the policies differ a little.
      const auto chain = tempflow::make_chain({1, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1}, tempflow::flow_sde{0.7});
      for (std::size_t s = 0; s < given.steps.size(); ++s)
        given.steps[s] = chain[static_cast<index_t>(s % 5)];
      given.rows.v = repeated(v_old, given.counts);
      given.rows.steps.clear();
      for (std::size_t s = 0; s < given.steps.size(); ++s)
        given.rows.steps.insert(given.rows.steps.end(), static_cast<std::size_t>(given.counts[s]),
                                given.steps[s]);
      tempflow::step(backend, given.rows.x.view(), given.rows.v, given.rows.steps, {test_key, given.ids},
                     given.rows.y, {});
    }
    tempflow::log_prob(backend, batch(), v_old.view(), given.rows.log_probs);
  }

  tempflow::policy_batch<T> batch() const { return given.batch(); }
};

}  // namespace support
