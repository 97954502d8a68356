// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "support/kernels.hpp"

namespace tempflow::detail {

TEMPFLOW_TEST_KERNELS(, double)
TEMPFLOW_TEST_GRADIENTS(, double, float)
TEMPFLOW_TEST_GRADIENTS(, double, double)

}  // namespace tempflow::detail
