// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// policy_row and policy_statistics as numbers of a tensor.

#include <cstddef>

#include "tempflow/objective/policy_statistics.hpp"

namespace tempflow::python {

inline constexpr index_t row_numbers = sizeof(policy_row) / sizeof(double);
inline constexpr index_t summary_numbers = sizeof(policy_statistics) / sizeof(double);
inline constexpr index_t loss_at = offsetof(policy_statistics, loss) / sizeof(double);

}  // namespace tempflow::python
