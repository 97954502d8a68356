// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What TEMPFLOW_NEEDS_BACKEND is made of (config.hpp).

#include "tempflow/backend/backend.hpp"

namespace tempflow::detail {

/// Made of anything, braces too.
struct any_argument {
  template <class... Arguments>
  any_argument(Arguments&&...) {}  // NOLINT(google-explicit-constructor)
};

}  // namespace tempflow::detail
