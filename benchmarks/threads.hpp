// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/backend/cpu.hpp>

namespace bench {

/// The CPU backend with that many threads, one for the whole program: pools that idle beside each other would cost
/// time.
tempflow::cpu_backend threads(int count);

}  // namespace bench
