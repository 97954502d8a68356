// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a rollout takes, known before it runs.

#include <string_view>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow {

/// What a rollout takes. Bytes need the plan's `cost` to be told the dimension and size of an element.
struct rollout_cost {
  index_t model_evaluations = 0;  ///< rows given to the model
  index_t model_calls = 0;        ///< batched calls, with max_batch as the limit of each
  index_t sequential_calls = 0;   ///< calls if each step's branches were finished before the next step's
  index_t samples = 0;            ///< finished samples to score
  index_t bytes = 0;              ///< states, samples and log-probs that the result keeps
  index_t working_bytes = 0;      ///< batches that live while it runs
};

namespace detail {

/// Calls of at most max_batch rows (0: any number) that `rows` rows need.
constexpr index_t calls_for(index_t rows, index_t max_batch) {
  if (rows == 0) return 0;
  return max_batch == 0 ? 1 : 1 + (rows - 1) / max_batch;
}

/// Seeds are 32-bit identities, and every count of a rollout must fit an index: throws value_error otherwise.
inline void check_rollout_size(std::string_view plan, index_t prompts, index_t seeds, index_t rows_per_seed,
                               index_t dimension, index_t element_size) {
  const double elements = static_cast<double>(prompts) * static_cast<double>(seeds) *
                          static_cast<double>(rows_per_seed) * (static_cast<double>(dimension) + 1);
  if (prompts < 1 || dimension < 0 || element_size < 1 || seeds > 0xffffffff ||
      elements * static_cast<double>(element_size + 64) > 4e18) {
    throw value_error(message(plan, ": ", prompts, " prompts of ", seeds, " seeds, ", rows_per_seed,
                              " rows each of ", dimension, " elements of ", element_size,
                              " bytes: not positive, or too many to count"));
  }
}

}  // namespace detail
}  // namespace tempflow
