// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_row, policy_statistics and what stands between the calls of a loss as numbers of a tensor.

#include <cstddef>

#include "tempflow/objective/policy_statistics.hpp"
#include "tempflow/objective/row_sums.hpp"

namespace tempflow::python {

inline constexpr index_t row_numbers = sizeof(policy_row) / sizeof(double);
inline constexpr index_t sum_numbers = sizeof(row_sums) / sizeof(double);
inline constexpr index_t factor_numbers = sizeof(row_factors) / sizeof(double);
inline constexpr index_t summary_numbers = sizeof(policy_statistics) / sizeof(double);
inline constexpr index_t loss_at = offsetof(policy_statistics, loss) / sizeof(double);

}  // namespace tempflow::python
