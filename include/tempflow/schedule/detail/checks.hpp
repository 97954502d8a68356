// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Checks that shifts, grids and dynamics share. `what` names the argument: "flow_sde: noise_level".

#include <string_view>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow::detail {

inline void check_level(std::string_view what, double level, double highest) {
  if (!is_finite(level) || level < 0 || level > highest) {
    throw value_error(message(what, " = ", level, ", must lie in [0, ", highest, "]"));
  }
}

inline void check_positive(std::string_view what, double value) {
  if (!is_finite(value) || value <= 0) throw value_error(message(what, " = ", value, ", must be positive"));
}

inline void check_count(std::string_view what, index_t count, index_t least) {
  if (count < least) throw value_error(message(what, " = ", count, ", at least ", least, " is needed"));
}

}  // namespace tempflow::detail
