// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How far a kernel's answers are from its formula in double, on the same inputs: the same measures as in
// torch_peers.py, so that implementations can be compared.

#include "host_data.hpp"

namespace bench {

/// Of log-probs and advantages the largest difference; step's and branch_step's are those of the states that they
/// stored. Of gradients and averages |difference| / |exact|, over the batch.
template <class T>
double error_against_double(const task& t, const host_data<T>& given, const tf::batch_buffer<T>& out,
                            const tf::batch_buffer<T>& branches, const std::vector<double>& numbers);

}  // namespace bench
