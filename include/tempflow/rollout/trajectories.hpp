// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a rollout leaves behind: the states of its transitions, each stored once, their log-probs, and the
// finished samples. Rows are transitions to train on; samples are what a reward scores.

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/objective/gaussian.hpp"
#include "tempflow/ops/copy_rows.hpp"
#include "tempflow/schedule/chain.hpp"

namespace tempflow {

/// One stochastic transition, x at step `step` of the chain to y, and the sample whose reward credits it.
struct trajectory_row {
  index_t x = 0;  ///< row of the stored states
  index_t y = 0;  ///< row of the stored states
  index_t step = 0;
  index_t sample = 0;
};

/// Whose sample it is. `step` is the branching step, or 0 for samples that are stochastic throughout.
struct sample_identity {
  index_t prompt = 0;  ///< the prompt's id, as given to the rollout
  index_t seed = 0;    ///< initial noise within the prompt
  index_t step = 0;
  index_t branch = 0;  ///< exploration within the step
};

/// The parts of a rollout, as the functions that make one fill them.
template <storage_scalar T, class Buffer = batch_buffer<T>>
struct trajectory_data {
  chain steps;
  noise_key key = {};
  log_prob_convention convention = {};
  Buffer states = {};
  Buffer samples = {};
  Buffer trunk_samples = {};
  std::vector<trajectory_row> table = {};
  std::vector<sample_identity> identities = {};
  std::vector<double> log_probs = {};
};

/// The result of branch_rollout and flow_rollout. Movable; all storage is its own. States and samples lie in
/// the memory of the rollout's backend (Buffer), all else in the host's.
template <storage_scalar T, class Buffer = batch_buffer<T>>
class trajectories {
 public:
  explicit trajectories(trajectory_data<T, Buffer> data) : data_(std::move(data)) {}

  /// Transitions to train on.
  index_t rows() const { return static_cast<index_t>(data_.table.size()); }
  const trajectory_row& row(index_t i) const { return data_.table[static_cast<std::size_t>(i)]; }

  /// Log-probs of the rows under the rollout's policy, in its convention.
  std::span<const double> log_probs() const& { return data_.log_probs; }
  std::span<double> log_probs() & { return data_.log_probs; }
  log_prob_convention convention() const { return data_.convention; }

  /// Finished samples, N x D, in the order of identities().
  batch_view<const T> samples() const& { return data_.samples.view(); }
  std::span<const sample_identity> identities() const& { return data_.identities; }

  /// Finished trunk samples, one per prompt and seed in that order; empty unless the plan asked for them.
  batch_view<const T> trunk_samples() const& { return data_.trunk_samples.view(); }

  /// Every stored state; trajectory_row::x and ::y are rows of it.
  batch_view<const T> states() const& { return data_.states.view(); }

  /// Copies the x and the y of rows into batches of as many rows, in the same memory.
  void gather(std::span<const index_t> rows, Buffer& x, Buffer& y) const {
    std::vector<index_t> from_x, from_y;
    for (const index_t i : rows) from_x.push_back(row(i).x), from_y.push_back(row(i).y);
    const auto count = static_cast<index_t>(rows.size());
    if (x.rows() < count) x = data_.states.like(count, data_.states.columns());
    if (y.rows() < count) y = data_.states.like(count, data_.states.columns());
    gather_rows(data_.states, from_x, x.view().slice(0, count));
    gather_rows(data_.states, from_y, y.view().slice(0, count));
  }

  // A temporary rollout takes its storage with it: give it a name first.
  void log_probs() const&& = delete;
  void samples() const&& = delete;
  void trunk_samples() const&& = delete;
  void states() const&& = delete;
  void identities() const&& = delete;

  const chain& steps() const { return data_.steps; }
  noise_key key() const { return data_.key; }

  /// Steps that have rows, ascending.
  std::vector<index_t> trained_steps() const {
    std::vector<index_t> found;
    for (const auto& row : data_.table) found.push_back(row.step);
    std::ranges::sort(found);
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
  }

  /// A group id per sample: samples of one prompt and step.
  std::vector<std::int64_t> prompt_groups() const { return groups(true, false); }

  /// A group id per sample: siblings, which share prompt, seed and step, and hence the state they branched
  /// from.
  std::vector<std::int64_t> seed_groups() const { return groups(true, true); }

  /// A group id per sample: samples of one step, whatever the prompt.
  std::vector<std::int64_t> step_groups() const { return groups(false, false); }

  /// The noise of a row, to draw it again.
  noise_id noise_of(index_t row_index) const {
    const auto& row = data_.table[static_cast<std::size_t>(row_index)];
    const auto& who = data_.identities[static_cast<std::size_t>(row.sample)];
    return {.prompt = static_cast<std::uint32_t>(who.prompt),
            .seed = static_cast<std::uint32_t>(who.seed),
            .step = static_cast<std::uint16_t>(row.step),
            .branch = static_cast<std::uint16_t>(who.branch)};
  }

 private:
  std::vector<std::int64_t> groups(bool by_prompt, bool by_seed) const {
    using key = std::pair<std::pair<index_t, index_t>, index_t>;
    std::vector<key> keys;
    for (const auto& who : data_.identities) {
      keys.push_back({{by_prompt ? who.prompt : 0, by_seed ? who.seed : 0}, who.step});
    }
    auto distinct = keys;
    std::ranges::sort(distinct);
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    std::vector<std::int64_t> ids;
    for (const auto& k : keys) ids.push_back(std::ranges::lower_bound(distinct, k) - distinct.begin());
    return ids;
  }

  trajectory_data<T, Buffer> data_;
};

/// What a rollout of model M on backend B leaves behind.
template <class B, class M>
using trajectories_of = trajectories<typename M::value_type, buffer_of<B, typename M::value_type>>;

}  // namespace tempflow
