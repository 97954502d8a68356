// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "finetuner.hpp"

namespace fashion {

/// Times `repetitions` updates with the wavefront's model calls and as many with those of branch after
/// branch, in an order that the seed draws, and prints the medians.
void measure(const std::function<update_cost(calls)>& update, int repetitions, std::uint64_t seed);

}  // namespace fashion
