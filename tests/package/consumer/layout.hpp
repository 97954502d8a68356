// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What two translation units must agree on: the layout of the vocabulary types and one address for each function.

#include <array>
#include <cstdint>

#include <tempflow/tempflow.hpp>

using layout = std::array<std::uintptr_t, 8>;

static layout layout_here() {
  return {sizeof(tempflow::transition),
          sizeof(tempflow::batch_view<float>),
          sizeof(tempflow::noise_id),
          sizeof(tempflow::noise_key),
          sizeof(tempflow::cpu_backend),
          sizeof(tempflow::chain),
          reinterpret_cast<std::uintptr_t>(&tempflow::philox4x32),
          reinterpret_cast<std::uintptr_t>(&tempflow::step_range)};
}

layout layout_elsewhere();
