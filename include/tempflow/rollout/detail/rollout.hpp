// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the rollouts share: checked identities and calls of the model in chunks.

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/ops/copy_rows.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/rollout/velocity_model.hpp"

namespace tempflow::detail {

/// Prompt ids identify noise and groups: each must fit 32 bits and appear once.
inline void check_prompts(std::string_view operation, std::span<const index_t> prompts) {
  if (prompts.empty()) throw value_error(message(operation, ": no prompts"));
  std::vector<index_t> sorted(prompts.begin(), prompts.end());
  std::ranges::sort(sorted);
  if (sorted.front() < 0 || sorted.back() > 0xffffffff) {
    throw value_error(message(operation, ": prompt id ", sorted.front() < 0 ? sorted.front() : sorted.back(),
                              " outside [0, 2^32)"));
  }
  if (const auto twice = std::ranges::adjacent_find(sorted); twice != sorted.end()) {
    throw group_error(
        message(operation, ": prompt id ", *twice, " appears twice; its groups and noise would merge"));
  }
}

inline void check_dimension(std::string_view operation, index_t dimension) {
  if (dimension < 1) throw shape_error(message(operation, ": the model's dimension is ", dimension));
}

inline void check_chain_length(std::string_view operation, index_t steps) {
  if (steps >= step_limit) {
    throw schedule_error(
        message(operation, ": a chain of ", steps, " steps, must be fewer than ", step_limit));
  }
}

/// The identity of the noise that starts a trajectory.
inline noise_id initial_noise(index_t prompt, index_t seed) {
  return {.prompt = static_cast<std::uint32_t>(prompt),
          .seed = static_cast<std::uint32_t>(seed),
          .step = initial_noise_step};
}

/// The log-probs of a rollout where its backend writes them, until they are fetched: so that no step waits.
template <backend B>
class log_prob_store {
 public:
  log_prob_store(const B& backend, std::span<double> to)
      : backend_(backend),
        to_(to),
        log_probs_(make_buffer<double>(backend, 1, static_cast<index_t>(to.size()))) {}

  std::span<double> part(index_t first, index_t count) {
    return {log_probs_.view().data() + first, static_cast<std::size_t>(count)};
  }

  void fetch() {
    copy_to_host(backend_, log_probs_.view(), batch_view<double>(to_.data(), 1, log_probs_.columns()));
  }

 private:
  const B& backend_;
  std::span<double> to_;
  buffer_of<B, double> log_probs_;
};

/// Asks the model for all rows, at most max_batch at a time (0: all at once).
template <velocity_model M>
void evaluate(M& model, batch_view<const typename M::value_type> x, std::span<const double> sigma,
              std::span<const index_t> prompts, batch_view<typename M::value_type> v, index_t max_batch) {
  const index_t limit = max_batch == 0 ? x.rows() : max_batch;
  for (index_t first = 0; first < x.rows(); first += limit) {
    const index_t count = (std::min)(limit, x.rows() - first);
    const auto at = static_cast<std::size_t>(first), size = static_cast<std::size_t>(count);
    model.velocity(x.slice(first, count), sigma.subspan(at, size), prompts.subspan(at, size),
                   v.slice(first, count));
  }
}

}  // namespace tempflow::detail
