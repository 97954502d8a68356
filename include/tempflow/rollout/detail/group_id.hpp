// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The number of a group, made of what its members share: the same in every process.

#include <cstdint>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"

namespace tempflow::detail {

/// prompt below 2^32, seed below 2^15, step below 2^16.
inline std::int64_t group_id(index_t prompt, index_t seed, index_t step) {
  constexpr index_t seeds = index_t{1} << 15, steps = index_t{1} << 16;
  if (seed >= seeds) {
    throw value_error(message("groups: seed ", seed, " of prompt ", prompt, " has no group id, seeds below ",
                              seeds, " have; number the seeds of an update from 0"));
  }
  return (std::int64_t{prompt} * seeds + seed) * steps + step;
}

}  // namespace tempflow::detail
