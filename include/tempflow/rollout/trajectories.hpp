// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a rollout leaves behind: states, each stored once; the transitions between them, with their log-probs;
// and the finished samples. Rows are transitions to train on; samples are what a reward scores.

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/element_mask.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/rollout/detail/group_id.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// One stochastic transition: a state at step `step` of the chain, its successor, and the samples that it led
/// to: those whose last_row is this one, or a row that this is an ancestor of.
struct trajectory_row {
  index_t state = 0;      ///< row of the stored states
  index_t successor = 0;  ///< row of the stored states; -1 where the rollout was not to keep it
  index_t step = 0;
  index_t sample = 0;   ///< the sample that it led to; the first of several
  index_t samples = 1;  ///< how many: 1 unless its trajectory parts later
  index_t parent = -1;  ///< the row before it on its trajectory; -1: none
  noise_id noise = {};  ///< of its draw
};

/// Which prompt, initial noise and branch a sample comes from.
struct sample_identity {
  index_t prompt = 0;  ///< the prompt's id, as given to the rollout
  index_t seed = 0;    ///< initial noise within the prompt
  index_t step = 0;    ///< the first step that drew noise: where it left its seed's ODE
  index_t branch = 0;  ///< its number among the seed's samples from there
  index_t node = 0;    ///< of the forest that it finished at
};

/// The parts of a rollout, as roll_out fills them.
template <storage_scalar T, class Buffer = batch_buffer<T>>
struct trajectory_data {
  chain steps;
  noise_key key = {};
  log_prob_convention convention = {};
  bool antithetic = false;
  bool redraw = false;
  element_mask mask = {};
  Buffer states = {};
  Buffer samples = {};
  Buffer trunk_samples = {};
  std::vector<trajectory_row> table = {};
  std::vector<sample_identity> identities = {};
  std::vector<index_t> last_rows = {};  ///< of each sample
  std::vector<double> log_probs = {};
};

/// The result of roll_out. Movable; all storage is its own. States and samples lie in the memory of the
/// rollout's backend (Buffer), all else in the host's.
template <storage_scalar T, class Buffer = batch_buffer<T>>
class trajectories {
 public:
  explicit trajectories(trajectory_data<T, Buffer> data) : data_(std::move(data)) {}

  /// Transitions to train on; parents come before their children.
  index_t rows() const { return static_cast<index_t>(data_.table.size()); }
  const trajectory_row& row(index_t i) const { return data_.table[static_cast<std::size_t>(i)]; }

  /// Log-probs of the rows under the rollout's policy, in its convention.
  std::span<const double> log_probs() const& { return data_.log_probs; }
  std::span<double> log_probs() & { return data_.log_probs; }
  log_prob_convention convention() const { return data_.convention; }

  /// Finished samples, N x D, in the order of identities().
  batch_view<const T> samples() const& { return data_.samples.view(); }
  std::span<const sample_identity> identities() const& { return data_.identities; }

  /// The last row on the trajectory of a sample; -1 if none of its transitions is trained.
  index_t last_row(index_t sample) const { return data_.last_rows[static_cast<std::size_t>(sample)]; }

  /// Finished samples without a draw, in the order of (node, prompt, seed); empty unless the plan asked for them.
  batch_view<const T> trunk_samples() const& { return data_.trunk_samples.view(); }

  /// Every stored state; trajectory_row::state and ::successor are rows of it.
  batch_view<const T> states() const& { return data_.states.view(); }

  /// The batch that stores the states, which knows where it lies.
  const Buffer& state_buffer() const& { return data_.states; }

  /// Gives the parts out, buffers and tables, without a copy; the rollout is spent:
  ///   auto samples = std::move(rollout).release().samples;
  /// `trajectories(std::move(parts))` is a rollout again.
  trajectory_data<T, Buffer> release() && { return std::move(data_); }

  /// Whether release() or a move has left nothing of it.
  bool released() const { return data_.steps.steps() == 0; }  // a chain has one or more

  // A temporary rollout takes its storage with it: give it a name first, or release() it.
  void log_probs() const&& = delete;
  void samples() const&& = delete;
  void trunk_samples() const&& = delete;
  void states() const&& = delete;
  void state_buffer() const&& = delete;
  void identities() const&& = delete;

  const chain& steps() const { return data_.steps; }
  noise_key key() const { return data_.key; }

  /// Whether odd branches drew minus the noise of even ones: `noise_source{key(), row.noise, antithetic()}`.
  bool antithetic() const { return data_.antithetic; }

  /// Which elements of states were drawn and scored, where a condition fixed the others (fixed_elements); {}: all.
  element_mask mask() const { return data_.mask; }

  /// False where the plan wants successors drawn again instead of stored.
  bool stores_successors() const { return !data_.redraw; }

  /// Steps that have rows, ascending.
  std::vector<index_t> trained_steps() const {
    std::vector<index_t> found;
    for (const auto& row : data_.table) found.push_back(row.step);
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
  }

  /// A group id per sample: samples of one prompt that left the ODE at one step. Ids are the same in every
  /// process, here and below.
  std::vector<std::int64_t> prompt_groups() const {
    return of_samples([](const auto& s) { return detail::group_id(s.prompt, 0, s.step); });
  }

  /// A group id per sample: samples of one prompt and seed that left the ODE at one step, and hence from one
  /// state. Throws value_error for seeds beyond 32,767, which have no ids.
  std::vector<std::int64_t> seed_groups() const {
    return of_samples([](const auto& s) { return detail::group_id(s.prompt, s.seed, s.step); });
  }

  /// A group id per sample: samples that left the ODE at one step, whatever the prompt.
  std::vector<std::int64_t> step_groups() const {
    return of_samples([](const auto& s) { return detail::group_id(0, 0, s.step); });
  }

  /// A group id per row: rows of one prompt, seed and step, which are a tree's of one depth. Throws as
  /// seed_groups does.
  std::vector<std::int64_t> depth_groups() const {
    std::vector<std::int64_t> ids;
    for (const auto& row : data_.table)
      ids.push_back(detail::group_id(row.noise.prompt, row.noise.seed, row.step));
    return ids;
  }

 private:
  template <class Id>
  std::vector<std::int64_t> of_samples(const Id& id) const {
    std::vector<std::int64_t> ids;
    for (const auto& sample : data_.identities) ids.push_back(id(sample));
    return ids;
  }

  trajectory_data<T, Buffer> data_;
};

/// What a rollout of model M on backend B leaves behind.
template <class B, class M>
using trajectories_of = trajectories<typename M::value_type, buffer_of<B, typename M::value_type>>;

}  // namespace tempflow
